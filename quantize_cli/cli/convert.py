"""quantize convert: a checkpoint becomes a GGUF file."""

from typing import Any

from quantize_cli.cli.terminal.options import (
    Bits,
    BitsBudget,
    BudgetTypes,
    CalibrationChunks,
    CalibrationContext,
    CalibrationTexts,
    Certify,
    DryRun,
    Force,
    ImportanceFile,
    Json,
    MemoryBudget,
    MethodNames,
    Output,
    Pure,
    RecipeFile,
    Requantize,
    SaveRecipe,
    Search,
    SearchKind,
    Settings,
    SizeBudget,
    Source,
    Special,
    SplitSize,
    TensorTypes,
    ThreadCount,
    TypeName,
)


def command(
    source: Source,
    output: Output = None,
    bits: Bits = None,
    type_name: TypeName = None,
    recipe: RecipeFile = None,
    pure: Pure = False,
    tensor: TensorTypes = None,
    imatrix: ImportanceFile = None,
    size: SizeBudget = None,
    bpw: BitsBudget = None,
    fits: MemoryBudget = None,
    types: BudgetTypes = None,
    save_recipe: SaveRecipe = None,
    calibrate: CalibrationTexts = None,
    method: MethodNames = None,
    search: SearchKind = Search.reference,
    ctx: CalibrationContext = None,
    chunks: CalibrationChunks = None,
    special: Special = False,
    requantize: Requantize = False,
    split_size: SplitSize = None,
    settings: Settings = None,
    certify: Certify = None,
    threads: ThreadCount = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Convert SRC to a GGUF file that llama.cpp runs."""
    from quantize_cli.cli.terminal.experts import warn_of_unreached
    from quantize_cli.cli.terminal.job import job_of
    from quantize_cli.cli.terminal.progress import report
    from quantize_cli.cli.terminal.text import note
    from quantize_cli.pipeline import convert

    job = job_of(
        source, output=output, bits=bits, type=type_name, recipe=recipe, pure=pure, tensor=tensor, imatrix=imatrix,
        size=size, bits_per_weight=bpw, fits=fits, types=types, calibrate=calibrate, method=method,
        search=search.value, context=ctx, chunks=chunks, special=special, requantize=requantize,
        split_size=split_size, settings=settings, certify=certify, threads=threads,
    )  # fmt: skip
    watched = report(quiet=json, notes=not json)
    done = convert(job, watched, force=force, save_recipe=save_recipe, dry_run=dry_run)
    warn_of_unreached(done.planned.decided.unreached)
    _report(done.planned, done.seconds, dry_run, json)
    if dry_run and save_recipe is not None and not json:
        note(f"would save {save_recipe}")


def _report(made: Any, seconds: float, dry_run: bool, json: bool) -> None:
    from quantize_cli.cli.terminal.text import note, print_json, size, type_counts

    plan, nbytes = made.plan, sum(part.nbytes for part in made.files.values())
    if json:
        print_json({
            "output": str(made.output), "files": [str(path) for path in made.files], "written": not dry_run,
            "nbytes": nbytes, "recipe": plan.recipe.name, "file_type": plan.recipe.file_type.name,
            "bits_per_weight": plan.bits_per_weight, "weights": plan.weights,
            "types": {type_.name: count for type_, count in plan.types.items()}, "seconds": round(seconds, 3),
        })  # fmt: skip
    else:
        did = "would write" if dry_run else "wrote"
        took = "" if dry_run else f", in {seconds:.1f} s"
        what = str(made.output) if len(made.files) == 1 else f"{len(made.files)} files, {next(iter(made.files))} and on"
        note(f"{did} {what}: {size(nbytes)}, {plan.bits_per_weight:.2f} bits per weight{took}")
        note(f"tensors: {type_counts(plan.types)}")

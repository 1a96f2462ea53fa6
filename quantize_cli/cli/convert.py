"""quantize convert: a checkpoint becomes a GGUF file."""

import time
from pathlib import Path
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
    from quantize_cli.certificate.statement import LARGEST
    from quantize_cli.cli._budget import asked_budget, saved
    from quantize_cli.cli._calibrated import Calibration
    from quantize_cli.cli._request import Request, choose_recipe, planned
    from quantize_cli.cli.terminal.experts import warn_of_unreached
    from quantize_cli.cli.terminal.places import Places

    budget = asked_budget(size, bpw, fits, types)
    chosen = choose_recipe(bits, type_name, recipe, pure, tensor, budget is not None)
    reserved = 0 if certify is None else LARGEST
    asked = Calibration(
        tuple(calibrate or ()), tuple(method or ()), ctx, chunks, search, threads, budget, reserved, json, special
    )
    places = Places((source, recipe, imatrix, *asked.texts, certify), force)
    places.refuse_bad((save_recipe, output if split_size is None else None))
    made = planned(Request(source, chosen, output, imatrix, requantize, split_size, settings, asked))
    wanted = None
    if certify is not None:
        from quantize_cli.cli._certify import certified, ordered

        made, wanted = ordered(made, source, certify)
    places.refuse_bad((save_recipe, *made.files))
    if dry_run:
        _report(made, 0.0, dry_run, json)
        _say_unsaved(save_recipe, json)
        return
    places.sweep((save_recipe, *made.files))
    saved(save_recipe, made.plan.recipe, places.guard)
    if wanted is None:
        seconds = _write(made, threads, places.guard, quiet=json)
    else:
        seconds = certified(
            made, wanted, lambda staged: _write(staged, threads, places.guard, quiet=json), places.guard, quiet=json
        )
    warn_of_unreached(made.known.unreached)
    _report(made, seconds, dry_run, json)


def _say_unsaved(recipe: Path | None, json: bool) -> None:
    from quantize_cli.cli.terminal.text import note

    if recipe is not None and not json:
        note(f"would save {recipe}")


def _write(made: Any, threads: int | None, guard: Any, quiet: bool) -> float:
    from quantize_cli.cli.terminal.progress import progress
    from quantize_cli.cli.terminal.text import note
    from quantize_cli.machine import processors
    from quantize_cli.pipeline.write import Report, write

    start = time.monotonic()
    with progress(sum(step.nbytes for step in made.plan.steps), "B", made.output.name, quiet) as advance:
        known = made.known
        write(made.files, known.importance, threads or processors(), Report(note, advance), known.rounding, guard)
    return time.monotonic() - start


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

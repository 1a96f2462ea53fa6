"""quantize plan: what convert would do."""

import sys
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
    ImportanceFile,
    Json,
    MemoryBudget,
    MethodNames,
    Output,
    Pure,
    RecipeFile,
    Requantize,
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
    json: Json = False,
) -> None:
    """Show what convert would make of SRC: every type with its reason, every offset, the size to the byte."""
    from quantize_cli.cli.terminal.job import job_of
    from quantize_cli.cli.terminal.progress import report
    from quantize_cli.cli.terminal.text import print_json
    from quantize_cli.pipeline import planned

    job = job_of(
        source, output=output, bits=bits, type=type_name, recipe=recipe, pure=pure, tensor=tensor, imatrix=imatrix,
        size=size, bits_per_weight=bpw, fits=fits, types=types, calibrate=calibrate, method=method,
        search=search.value, context=ctx, chunks=chunks, special=special, requantize=requantize,
        split_size=split_size, settings=settings, certify=certify, threads=threads,
    )  # fmt: skip
    made = planned(job, report(quiet=json, notes=not json))
    if json:
        print_json(_document(made))
    else:
        _print(made)


def _document(request: Any) -> dict[str, Any]:
    made = request.plan
    steps = [
        {
            "name": step.tensor.name, "shape": step.tensor.shape, "from": step.tensor.type.name,
            "type": step.type.name, "nbytes": step.nbytes, "offset": step.offset, "reason": step.reason,
        }
        for step in made.steps
    ]  # fmt: skip
    return {
        "output": str(request.output), "nbytes": made.nbytes, "recipe": made.recipe.name,
        "file_type": made.recipe.file_type.name, "bits_per_weight": made.bits_per_weight, "weights": made.weights,
        "tensors": steps,
    }  # fmt: skip


def _print(request: Any) -> None:
    from quantize_cli.cli.terminal.text import print_table, size, type_counts
    from quantize_cli.pipeline.write import free_nbytes

    made = request.plan
    rows = [
        (
            step.tensor.name, " x ".join(map(str, step.tensor.shape)), step.tensor.type.name.lower(),
            step.type.name.lower(), str(step.nbytes), str(step.offset), step.reason,
        )
        for step in made.steps
    ]  # fmt: skip
    print_table(("tensor", "shape", "from", "type", "bytes", "offset", "reason"), rows, frozenset({"bytes", "offset"}))
    sys.stdout.write("\n")
    free = free_nbytes(Path(request.output))
    print_table(
        ("file", str(request.output)),
        [
            ("size", f"{made.nbytes} bytes ({size(made.nbytes)}); the disk has {size(free)} free"),
            ("bits per weight", f"{made.bits_per_weight:.4f}"),
            ("tensors", type_counts(made.types)),
        ],
    )

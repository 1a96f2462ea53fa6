"""quantize plan: what convert would do."""

import sys
from pathlib import Path
from typing import Any

from quantize_cli.cli.terminal.options import (
    Bits,
    ImportanceFile,
    Json,
    Pure,
    RecipeFile,
    Requantize,
    Source,
    TensorTypes,
    TypeName,
)


def command(
    source: Source,
    bits: Bits = None,
    type_name: TypeName = None,
    recipe: RecipeFile = None,
    pure: Pure = False,
    tensor: TensorTypes = None,
    imatrix: ImportanceFile = None,
    requantize: Requantize = False,
    json: Json = False,
) -> None:
    """Show what convert would make of SRC: every type with its reason, every offset, the size to the byte."""
    from quantize_cli.cli._request import Request, choose_recipe, planned
    from quantize_cli.cli.terminal.text import print_json

    chosen = choose_recipe(bits, type_name, recipe, pure, tensor)
    request = planned(Request(source, chosen, imatrix=imatrix, requantize=requantize))
    if json:
        print_json(_document(request))
    else:
        _print(request)


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

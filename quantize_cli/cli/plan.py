"""quantize plan: what convert would do."""

import sys
from typing import TYPE_CHECKING

from quantize_cli.cli.terminal.job import takes_job
from quantize_cli.cli.terminal.options import Json
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import print_json, print_table, size, type_counts

if TYPE_CHECKING:
    from quantize_cli.pipeline.decided import PlannedConversion
    from quantize_cli.pipeline.job import Job


@takes_job
def command(job: "Job", json: Json = False) -> None:
    """Show what convert would make of SRC: every type with its reason, every offset, the size to the byte."""
    from quantize_cli.pipeline import plan_conversion

    planned = plan_conversion(job, report(quiet=json, notes=not json))
    if json:
        print_json(_document(planned))
    else:
        _print(planned)


def _document(planned: "PlannedConversion") -> dict[str, object]:
    plan = planned.plan
    steps = [
        {
            "name": step.tensor.name, "shape": step.tensor.shape, "from": step.tensor.type.name,
            "type": step.type.name, "nbytes": step.nbytes, "offset": step.offset, "reason": step.reason,
        }
        for step in plan.steps
    ]  # fmt: skip
    return {
        "output": str(planned.output), "nbytes": plan.nbytes, "recipe": plan.recipe.name,
        "file_type": plan.recipe.file_type.name, "bits_per_weight": plan.bits_per_weight, "weights": plan.weights,
        "tensors": steps,
    }  # fmt: skip


def _print(planned: "PlannedConversion") -> None:
    from quantize_cli.pipeline.write import free_nbytes

    plan = planned.plan
    rows = [
        (
            step.tensor.name, " x ".join(map(str, step.tensor.shape)), step.tensor.type.name.lower(),
            step.type.name.lower(), str(step.nbytes), str(step.offset), step.reason,
        )
        for step in plan.steps
    ]  # fmt: skip
    print_table(("tensor", "shape", "from", "type", "bytes", "offset", "reason"), rows, frozenset({"bytes", "offset"}))
    sys.stdout.write("\n")
    free = size(free_nbytes(planned.output))
    print_table(
        ("file", str(planned.output)),
        [
            ("size", f"{plan.nbytes} bytes ({size(plan.nbytes)}); the disk has {free} free"),
            ("bits per weight", f"{plan.bits_per_weight:.4f}"),
            ("tensors", type_counts(plan.types)),
        ],
    )

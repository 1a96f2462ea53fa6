"""quantize convert: a checkpoint becomes a GGUF file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.experts import warn_of_unreached
from quantize_cli.cli.terminal.job import takes_job
from quantize_cli.cli.terminal.options import Force, Json
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, size, type_counts

if TYPE_CHECKING:
    from quantize_cli.pipeline.decided import PlannedConversion
    from quantize_cli.pipeline.job import Job


@takes_job
def command(
    job: "Job",
    save_recipe: Annotated[
        Path | None, Option("--save-recipe", metavar="FILE", help="Write the recipe that was used, as TOML.")
    ] = None,
    force: Force = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Plan, check and say what would be done; write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Convert SRC to a GGUF file that llama.cpp runs."""
    from quantize_cli.pipeline import convert

    watched = report(quiet=json, notes=not json)
    done = convert(job, watched, force=force, save_recipe=save_recipe, dry_run=dry_run)
    warn_of_unreached(done.planned.decided.experts_without_tokens)
    if json:
        _print_json(done.planned, done.seconds, dry_run)
        return
    _tell(done.planned, "would write" if dry_run else "wrote", "" if dry_run else f", in {done.seconds:.1f} s")
    if dry_run and save_recipe is not None:
        note(f"would save {save_recipe}")


def _print_json(planned: "PlannedConversion", seconds: float, dry_run: bool) -> None:
    plan = planned.plan
    print_json({
        "output": str(planned.output), "files": [str(path) for path in planned.files], "written": not dry_run,
        "nbytes": _nbytes(planned), "recipe": plan.recipe.name, "file_type": plan.recipe.file_type.name,
        "bits_per_weight": plan.bits_per_weight, "weights": plan.weights,
        "types": {type_.name: count for type_, count in plan.types.items()}, "seconds": round(seconds, 3),
    })  # fmt: skip


def _tell(planned: "PlannedConversion", verb: str, time: str) -> None:
    first, *more = planned.files
    name = f"{len(planned.files)} files, {first} and on" if more else str(planned.output)
    note(f"{verb} {name}: {size(_nbytes(planned))}, {planned.plan.bits_per_weight:.2f} bits per weight{time}")
    note(f"tensors: {type_counts(planned.plan.types)}")


def _nbytes(planned: "PlannedConversion") -> int:
    """Of all files."""
    return sum(part.nbytes for part in planned.files.values())

"""load -> calibrate -> quantize -> pack -> write: the story, and nothing else.

`planned` decides everything about a conversion, `convert` does it. Both begin with a Job and tell a Report how it goes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_cli.progress import SILENT, Report

if TYPE_CHECKING:
    from quantize_cli.certificate.statement import Certificate
    from quantize_cli.formats.output import OverwriteGuard
    from quantize_cli.model.source import Model
    from quantize_cli.pipeline.decided import Decisions, PlannedConversion
    from quantize_cli.pipeline.executor import Executor
    from quantize_cli.pipeline.job import Job
    from quantize_cli.pipeline.plan import Plan
    from quantize_cli.pipeline.recipe import Recipe

_NAMED = 3
"""Weights without an importance that are named."""


@dataclass(frozen=True)
class Converted:
    """What a conversion made, or would make."""

    planned: "PlannedConversion"
    seconds: float
    certificate: "Certificate | None" = None


def convert(
    job: "Job",
    report: Report = SILENT,
    executor: "Executor | None" = None,
    *,
    force: bool = False,
    save_recipe: Path | None = None,
    dry_run: bool = False,
) -> Converted:
    """Do a job: all its files appear, or none. `force` replaces files, `dry_run` writes nothing.

    `executor` does the work on rows; by default that is the job's number of threads.

    UsageError, InputError, FormatError or OutputError say what was wrong with the job, its inputs, or its outputs.
    """
    from quantize_cli.budget.rules import to_toml
    from quantize_cli.machine import processors
    from quantize_cli.pipeline.executor import Threads
    from quantize_cli.pipeline.outputs import Outputs, write_file

    outputs = Outputs(job.inputs, force, report.note)
    outputs.refuse_bad((save_recipe, job.output if job.split_size is None else None))
    planned = plan_conversion(job, report)
    outputs.refuse_bad((save_recipe, *planned.files))
    if dry_run:
        return Converted(planned, 0.0)
    outputs.sweep((save_recipe, *planned.files))
    if save_recipe is not None:
        write_file(save_recipe, to_toml(planned.plan.recipe).encode(), outputs.guard)
    start = time.monotonic()
    claims = write_planned(planned, executor or Threads(job.threads or processors()), outputs.guard, report)
    return Converted(planned, time.monotonic() - start, claims)


def plan_conversion(job: "Job", report: Report = SILENT) -> "PlannedConversion":
    """Everything that `convert` would do: every type, size, offset and reason, and who rounds."""
    from quantize_cli.errors import UsageError
    from quantize_cli.formats.hub import model_name
    from quantize_cli.pipeline.decided import PlannedConversion
    from quantize_cli.pipeline.job import chosen_recipe
    from quantize_cli.pipeline.load import load
    from quantize_cli.units import nbytes_of

    if job.certify is not None and job.lora:
        raise UsageError(
            "--certify and --lora: a certificate compares with SRC as it is stored",
            hint="merge with --type bf16 first, then convert and certify that file",
        )
    recipe = chosen_recipe(job)  # before the model, which takes longer to refuse
    limit = None if job.split_size is None else nbytes_of("--split-size", job.split_size)
    stored, model = load(job, report)
    decided = _decided(job, model, recipe, report)
    _warn(job, model, decided, report)
    output = job.output or Path(f"{model_name(job.source)}-{decided.plan.recipe.file_name}.gguf")
    planned = PlannedConversion(stored, decided, output, _files(decided.plan, output, limit))
    if job.certify is None:
        return planned
    from quantize_cli.pipeline.certify import with_certificate_request

    return with_certificate_request(planned, job.certify, report)


def _decided(job: "Job", model: "Model", recipe: "Recipe", report: Report) -> "Decisions":
    """The plan, by the weights alone or by a text."""
    from quantize_cli.pipeline import plan
    from quantize_cli.pipeline.decided import Decisions
    from quantize_cli.pipeline.load import load_importance
    from quantize_cli.pipeline.quantize import Rounding

    if job.is_plain:
        importance, provenance = load_importance(job, model)
        return Decisions(plan.make(model, recipe, importance, provenance, job.requantize), Rounding(importance))
    from quantize_cli.pipeline.calibrate import calibrate

    return calibrate(job, model, recipe, report)


def write_planned(
    planned: "PlannedConversion", executor: "Executor", guard: "OverwriteGuard", report: Report
) -> "Certificate | None":
    """Write the files, and where it is asked for a certificate into them."""
    if planned.order is None:
        _write(planned, executor, guard, report)
        return None
    from quantize_cli.pipeline.certify import write_certified

    return write_certified(planned, lambda staged: _write(staged, executor, guard, report), guard, report)


def _write(planned: "PlannedConversion", executor: "Executor", guard: "OverwriteGuard", report: Report) -> None:
    from quantize_cli.pipeline.write import write

    with report.progress(sum(step.nbytes for step in planned.plan.steps), "B", planned.output.name) as advance:
        write(planned.files, executor, replace(report, written=advance), planned.decided.rounding, guard)


def _files(plan: "Plan", output: Path, limit: int | None) -> "Mapping[Path, Plan]":
    from quantize_cli.formats.gguf.shards import shard_path
    from quantize_cli.pipeline.plan import split

    parts = (plan,) if limit is None else split(plan, limit)
    if len(parts) == 1:
        return {output: plan}
    return {shard_path(output, number, len(parts)): part for number, part in enumerate(parts)}


def _warn(job: "Job", model: "Model", decided: "Decisions", report: Report) -> None:
    """Tell what a recipe cannot give, which rules name nothing, and what the importance matrix says nothing of."""
    from quantize_cli.pipeline.plan import idle_rules, stand_ins, unweighted

    if note := stand_ins(decided.plan):
        report.note(note)
    for warning in idle_rules(decided.plan.recipe, model):
        report.warn(warning)
    importance = decided.rounding.importance
    lacking = [] if job.imatrix is None or importance is None else unweighted(decided.plan, importance)
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        report.warn(
            f"{job.imatrix}: has no entry for {len(lacking)} weights, which are rounded without one: "
            f"{', '.join(lacking[:_NAMED])}{more}"
        )

"""load: what a person named becomes a model, opened once."""

from dataclasses import replace

from quantize_cli.calibration import imatrix
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model import settings
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline.job import Job
from quantize_cli.pipeline.plan import Importance
from quantize_cli.progress import Report


def load(job: Job, report: Report) -> tuple[Model, Model]:
    """The model as it is stored, with the job's adapters merged, and with the metadata the job sets.

    Tells what deserves a warning.
    """
    stored = open_model(job.source)
    for warning in stored.warnings:
        report.warn(warning)
    for path, factor in job.adapters:
        from quantize_cli.adapters.merge import with_adapter

        stored = with_adapter(stored, path, factor)
    return stored, replace(stored, metadata=settings.apply_settings(stored.metadata, job.settings))


def load_importance(job: Job, model: Model) -> tuple[Importance | None, dict[str, Value]]:
    """The importance matrix of the job, and metadata on it; None without one."""
    return (None, {}) if job.imatrix is None else imatrix.importance(model, job.imatrix)

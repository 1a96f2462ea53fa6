"""The job that the options of `convert` and `plan` ask for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantize_cli.pipeline.job import Job


def job_of(
    source: Path,
    *,
    tensor: Sequence[str] | None,
    calibrate: Sequence[Path] | None,
    method: Sequence[str] | None,
    types: str | None,
    settings: Sequence[str] | None,
    **same: object,
) -> "Job":
    """A job of these options; `same` are fields as they are."""
    from quantize_cli.pipeline.job import Job

    return Job(
        source, tensors=tuple(tensor or ()), texts=tuple(calibrate or ()), methods=tuple(method or ()),
        types=() if types is None else tuple(types.split(",")), settings=tuple(settings or ()),
        **same,  # type: ignore[arg-type]
    )  # fmt: skip

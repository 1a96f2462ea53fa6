"""write: blocks become files at their offsets, all of them or none."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer

import numpy as np

from quantize_cli.errors import OutputError, not_written
from quantize_cli.formats.output import MAY_OVERWRITE, Output, OverwriteGuard, atomic_files
from quantize_cli.formats.source import refuse_changed
from quantize_cli.jit import kernel_cache
from quantize_cli.pipeline.executor import Executor
from quantize_cli.pipeline.pack import refuse_overflow
from quantize_cli.pipeline.plan import Plan, Step
from quantize_cli.pipeline.quantize import BY_ROWS, Rounding, RowRange, blocks_of, compile_kernels, row_ranges
from quantize_cli.progress import SILENT, Report

_PATIENCE_SECONDS = 1.0
"""How long kernels may take to load before the wait is explained."""


def write(
    plans: Mapping[Path, Plan],
    executor: Executor,
    report: Report = SILENT,
    rounding: Rounding = BY_ROWS,
    guard: OverwriteGuard = MAY_OVERWRITE,
) -> None:
    """Make the files the plans describe: all of them, or none, and none when their sources change meanwhile."""
    _refuse_small_disk(plans)
    path = next(iter(plans))
    try:
        with atomic_files({path: plan.nbytes for path, plan in plans.items()}, guard) as outputs:
            for path, plan in plans.items():
                outputs[path].write(plan.layout.header, 0)
            targets = {step.tensor.name: (outputs[path], step) for path, plan in plans.items() for step in plan.steps}
            work = [rows for plan in plans.values() for rows in row_ranges(plan, rounding)]
            _compile(work, report)

            def take(rows: RowRange, blocks: np.ndarray) -> None:
                targets[rows.step.tensor.name][0].write(blocks, rows.offset)
                report.written(blocks.nbytes)

            executor.run(work, blocks_of, take)
            _write_whole(targets, rounding, report)
            for plan in plans.values():
                refuse_changed(plan.sources)
    except OSError as error:
        raise not_written(error.filename if isinstance(error, FileExistsError) else path, error) from error


def _write_whole(targets: Mapping[str, tuple[Output, Step]], rounding: Rounding, report: Report) -> None:
    """The tensors that are rounded whole."""
    for name, blocks in rounding.results():
        output, step = targets[name]
        refuse_overflow(step, blocks, 0)
        output.write(blocks, step.offset)
        report.written(step.nbytes)


def _compile(work: Sequence[RowRange], report: Report) -> None:
    """Have the kernels ready, and explain the wait where it is long."""
    waiting = Timer(_PATIENCE_SECONDS, lambda: report.note(kernel_cache.compiling()))
    waiting.start()
    try:
        compile_kernels(work)
    finally:
        waiting.cancel()


def _refuse_small_disk(plans: Mapping[Path, Plan]) -> None:
    """Say before the work what would be found out after it."""
    path, needed = next(iter(plans)), sum(plan.nbytes for plan in plans.values())
    free = free_nbytes(path)
    if free < needed:
        raise OutputError(f"{path}: needs {needed} bytes, its disk has {free} free")


def free_nbytes(path: Path) -> int:
    """Bytes free where `path` is to be written; OutputError when its directory is not there."""
    try:
        return shutil.disk_usage(path.parent).free
    except OSError as error:
        raise OutputError(f"{path.parent}: {(error.strerror or str(error)).lower()}") from error

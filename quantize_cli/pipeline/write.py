"""quantize -> pack -> write: rows of the source become rows of the files, all of them or none."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import prod
from pathlib import Path
from threading import Event, Timer
from typing import NamedTuple, NoReturn

import numpy as np

from quantize_cli import quants
from quantize_cli.errors import InputError, OutputError, not_written
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.formats.output import ANY_FILE, Guard, Output, appearing
from quantize_cli.formats.source import refuse_changed
from quantize_cli.jit import kernel_cache
from quantize_cli.model.tensor import DAMAGED_HINT, refuse_not_finite
from quantize_cli.pipeline.plan import Importance, Plan, Step
from quantize_cli.progress import Report as Report

_CHUNK_WEIGHTS = 1 << 19
"""Weights one worker holds at a time: 2 MiB of float32, which stay in cache and whose memory the allocator reuses.

With four times as many, F16 took half as much processor time again, most of it page faults.
"""


_BF16_END = 3.39e38
"""What is smaller is no infinity in bfloat16."""

Encode = Callable[[GgmlType, np.ndarray, np.ndarray | None], np.ndarray]
"""Type, weights (rows, columns) f32, importance (columns,) f32 or None -> rows of the file, (rows, row bytes) u8."""


@dataclass(frozen=True)
class Rounding:
    """Who decides what stands for the weights."""

    encode: Encode = quants.encode
    """Of rows on their own."""
    names: frozenset[str] = frozenset()
    """Tensors that are rounded whole, by knowing what they multiply."""
    results: Callable[[], Iterable[tuple[str, np.ndarray]]] = tuple
    """These, as they are done: names and rows of the file, (rows, row bytes) u8."""


_PATIENCE_SECONDS = 1.0
"""How long kernels may take to load before the wait is explained."""


class Rows(NamedTuple):
    """Rows [start, stop) of one step: the unit of work. Never crosses from one matrix of a stack to the next."""

    output: Output
    step: Step
    start: int
    stop: int
    importance: np.ndarray | None
    encode: Encode


def write(
    plans: Mapping[Path, Plan],
    importance: Importance | None,
    threads: int,
    report: Report,
    rounding: Rounding | None = None,
    guard: Guard = ANY_FILE,
) -> None:
    """Make the files the plans describe: all of them, or none, and none when their sources change meanwhile.

    Each of `threads` workers reads, computes and writes one chunk after another, so memory is bounded by their chunks.
    More workers than cores, to read and write meanwhile, took turns from those that computed: with two more, two cores
    gave Q4_K_M 1.7 times the speed of one, not 1.9.
    """
    rounding = rounding or Rounding()
    _refuse_small_disk(plans)
    path = next(iter(plans))
    try:
        with appearing({path: plan.nbytes for path, plan in plans.items()}, guard) as outputs:
            work: list[Rows] = []
            places: dict[str, tuple[Output, Step]] = {}
            for path, plan in plans.items():
                output = outputs[path]
                output.write(plan.layout.header, 0)
                places.update((step.tensor.name, (output, step)) for step in plan.steps)
                work += _rows(output, plan, importance, rounding)
            _run(work, threads, report)
            for name, rows in rounding.results():
                output, step = places[name]
                _refuse_overflow(step, rows, 0)
                output.write(rows, step.offset)
                report.written(step.nbytes)
            for plan in plans.values():
                refuse_changed(plan.sources)
    except OSError as error:
        raise not_written(error.filename if isinstance(error, FileExistsError) else path, error) from error


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


def _run(work: Sequence[Rows], threads: int, report: Report) -> None:
    stopped = Event()

    def convert(rows: Rows) -> None:
        if stopped.is_set():
            return
        try:
            _convert(rows)
        except BaseException:  # at once, as the others may be done before anyone looks at this one
            stopped.set()
            raise
        report.written((rows.stop - rows.start) * row_nbytes(rows.step.type, rows.step.tensor.columns))

    with ThreadPoolExecutor(threads) as pool:
        compiling = Timer(_PATIENCE_SECONDS, lambda: report.note(kernel_cache.compiling()))
        compiling.start()
        try:
            ready = pool.submit(_compile, work)
            ready.add_done_callback(lambda _: compiling.cancel())
            futures: list[Future[None]] = [ready, *(pool.submit(convert, rows) for rows in work)]
            for done in wait(futures, return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            stopped.set()
            compiling.cancel()


def _compile(work: Sequence[Rows]) -> None:
    """Have the kernels ready that the work needs, and no others."""
    changed = [rows for rows in work if rows.step.type is not rows.step.tensor.type]
    quants.compile_kernels((), {rows.step.tensor.type for rows in changed})
    for weighted in (False, True):
        written = {rows.step.type for rows in changed if (rows.importance is not None) is weighted}
        quants.compile_kernels(written, weighted=weighted)


def _rows(output: Output, plan: Plan, importance: Importance | None, rounding: Rounding) -> Iterator[Rows]:
    """All the work of a plan that is done row by row, in file order."""
    for step in plan.steps:
        if not step.nbytes or step.tensor.name in rounding.names:
            continue
        costs = None if importance is None else importance.get(step.tensor.name)
        per_matrix = prod(step.tensor.shape[-2:-1]) if costs is not None else step.tensor.row_count
        chunk = max(1, _CHUNK_WEIGHTS // max(1, step.tensor.columns))
        for matrix in range(step.tensor.row_count // max(1, per_matrix)):
            end = (matrix + 1) * per_matrix
            for start in range(matrix * per_matrix, end, chunk):
                cost = None if costs is None else costs[matrix]
                yield Rows(output, step, start, min(start + chunk, end), cost, rounding.encode)


def _convert(rows: Rows) -> None:
    """Read, quantize, pack and write some rows."""
    step = rows.step
    try:
        stored = step.tensor.read(rows.start, rows.stop)
    except OSError as error:
        raise InputError(f"{step.tensor.origin}: {(error.strerror or str(error)).lower()}") from error
    packed = _pack(rows, stored)
    rows.output.write(packed, step.offset + rows.start * row_nbytes(step.type, step.tensor.columns))


def _pack(rows: Rows, stored: np.ndarray) -> np.ndarray:
    """Rows as their source stores them -> the bytes of the file."""
    step = rows.step
    stays = step.type is step.tensor.type
    if stays and step.type not in FLOAT_TYPES:
        _refuse_damaged(step, stored, rows.start)
        return np.ascontiguousarray(stored)
    weights = quants.decode(step.tensor.type, stored)
    largest = refuse_not_finite(weights, step.tensor.origin, rows.start)
    if stays:
        return np.ascontiguousarray(stored)
    if quants.is_beyond(step.type, largest):
        _refuse_beyond(step, rows.start + int(np.abs(weights).max(axis=1).argmax()), slice(None))
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            packed = rows.encode(step.type, weights, rows.importance)
    except InputError as error:
        raise InputError(f"{step.tensor.origin}: {error}", error.hint) from error
    _refuse_overflow(step, packed, rows.start)
    return packed


def _refuse_damaged(step: Step, stored: np.ndarray, first: int) -> None:
    """InputError for blocks that would be copied though they stand for NaN or infinity."""
    if trouble := quants.trouble(step.type, stored, first):
        raise InputError(f"{step.tensor.origin}: {trouble}", hint=DAMAGED_HINT)


def _refuse_overflow(step: Step, packed: np.ndarray, first: int) -> None:
    """InputError for rows of which some weight became infinite or NaN, as their type's numbers end too early."""
    if not (found := quants.first_not_finite(step.type, packed)):
        return
    row, width = first + found[0], BLOCK_SHAPE[step.type].weights
    _refuse_beyond(step, row, slice(found[1] * width, (found[1] + 1) * width))


def _refuse_beyond(step: Step, row: int, columns: slice) -> NoReturn:
    """Say which weight is too large, the largest of a row's columns, and what holds it."""
    weights = quants.decode(step.tensor.type, step.tensor.read(row, row + 1))[0, columns]
    column = int(np.abs(weights).argmax())
    wide = "bf16" if abs(weights[column]) < _BF16_END else "f32"
    raise InputError(
        f"{step.tensor.origin}: {weights[column]:g} at row {row}, column {(columns.start or 0) + column} is more than "
        f"{step.type.name.lower()} holds",
        hint=f"--tensor '{step.tensor.name}={wide}' keeps it, or --type {wide} everything",
    )

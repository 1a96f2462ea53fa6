"""quantize: rows of the source become weights, weights become codes, and codes the blocks of the file.

A row range is the unit of work: a value that can be pickled, and done by anyone who can open the source. Codes and
blocks are one stage, since a type quantizes and packs some 130,000 weights at a time, so that codes stay in the cache:
see `encode` in `quantize_cli/quants/interface/type.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan, prod

import numpy as np

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType, row_nbytes
from quantize_cli.model.tensor import refuse_not_finite
from quantize_cli.pipeline.pack import copied, refuse_beyond, refuse_overflow
from quantize_cli.pipeline.plan import Importance, Plan, Step

_CHUNK_WEIGHTS = 1 << 19
"""Weights one worker holds at a time: 2 MiB of float32, which stay in cache and whose memory the allocator reuses.

With four times as many, F16 took half as much processor time again, most of it page faults.
"""

Encode = Callable[[GgmlType, np.ndarray, np.ndarray | None], np.ndarray]
"""Type, weights (rows, columns) f32, importance (columns,) f32 or None -> rows of the file, (rows, row bytes) u8."""


@dataclass(frozen=True)
class Rounding:
    """Who decides the codes of a plan's weights, and by what."""

    importance: Importance | None = None
    encode: Encode = quants.encode
    """Encodes rows on their own."""
    names: frozenset[str] = frozenset()
    """Tensors that are rounded whole, by knowing what they multiply."""
    results: Callable[[], Iterable[tuple[str, np.ndarray]]] = tuple
    """These, as they are done: names and rows of the file, (rows, row bytes) u8."""


BY_ROWS = Rounding()
"""The reference's way."""


@dataclass(frozen=True)
class RowRange:
    """Rows [start, stop) of one step. Never crosses from one matrix of a stack to the next."""

    step: Step
    start: int
    stop: int
    importance: np.ndarray | None = field(default=None, repr=False)
    """What an error in each column costs, (columns,) f32."""
    encode: Encode = quants.encode

    @property
    def offset(self) -> int:
        """Of the first row, from the start of the file."""
        return self.step.offset + self.start * row_nbytes(self.step.type, self.step.tensor.columns)


def row_ranges(plan: Plan, rounding: Rounding) -> Iterator[RowRange]:
    """All the work of a plan that is done row by row, in file order: that of all tensors not rounded whole."""
    for step in plan.steps:
        if not step.nbytes or step.tensor.name in rounding.names:
            continue
        costs = (rounding.importance or {}).get(step.tensor.name)
        per_matrix = prod(step.tensor.shape[-2:-1]) if costs is not None else step.tensor.row_count
        chunk = max(1, _CHUNK_WEIGHTS // max(1, step.tensor.columns))
        for matrix in range(step.tensor.row_count // max(1, per_matrix)):
            end = (matrix + 1) * per_matrix
            for start in range(matrix * per_matrix, end, chunk):
                cost = None if costs is None else costs[matrix]
                yield RowRange(step, start, min(start + chunk, end), cost, rounding.encode)


def blocks_of(rows: RowRange) -> np.ndarray:
    """What the file holds for some rows, (rows, row bytes) u8; InputError for what its type cannot hold."""
    step = rows.step
    try:
        stored = step.tensor.read(rows.start, rows.stop)
    except OSError as error:
        raise InputError(f"{step.tensor.origin}: {(error.strerror or str(error)).lower()}") from error
    if step.type is step.tensor.type and step.type not in FLOAT_TYPES:
        return copied(step, stored, rows.start)
    weights = quants.decode(step.tensor.type, stored)
    largest = _largest(stored)
    if not isfinite(largest):
        largest = refuse_not_finite(weights, step.tensor.origin, rows.start)
    return np.ascontiguousarray(stored) if step.type is step.tensor.type else _encoded(rows, weights, largest)


def _largest(stored: np.ndarray) -> float:
    """The largest magnitude of stored halves (F16 or BF16), which is infinite or NaN if one is; NaN for other types.

    Without their signs the words of halves are in the order of their magnitudes. To look at these takes half the time
    of looking at float32.
    """
    if stored.dtype.itemsize != 2:
        return nan
    words = stored.view(np.uint16)
    largest = max(int(words.view(np.int16).max()), int(words.max()) & 0x7FFF)
    return float(np.array(largest, np.uint16).view(stored.dtype))


def _encoded(rows: RowRange, weights: np.ndarray, largest: float) -> np.ndarray:
    """Blocks that stand for weights, of which `largest` is the largest magnitude."""
    step = rows.step
    if quants.is_beyond(step.type, largest):
        refuse_beyond(step, rows.start + int(np.abs(weights).max(axis=1).argmax()), slice(None))
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # overflow is looked for in the blocks
            blocks = rows.encode(step.type, weights, rows.importance)
    except InputError as error:
        raise InputError(f"{step.tensor.origin}: {error}", error.hint) from error
    refuse_overflow(step, blocks, rows.start)
    return blocks


def compile_kernels(work: Sequence[RowRange]) -> None:
    """Have the kernels ready that the work needs, and no others."""
    changed = [rows for rows in work if rows.step.type is not rows.step.tensor.type]
    quants.compile_kernels((), {rows.step.tensor.type for rows in changed})
    for weighted in (False, True):
        types = {rows.step.type for rows in changed if (rows.importance is not None) is weighted}
        quants.compile_kernels(types, weighted=weighted)

"""How weights are rounded to a type when its loss is measured: by default as `convert` rounds them, on all threads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quantize_cli import quants
from quantize_cli.budget.inputs import TensorInputs
from quantize_cli.calibration.rounding.rows import map_rows
from quantize_cli.formats.ggml import GgmlType, row_nbytes

Round = Callable[[GgmlType, np.ndarray], np.ndarray]
"""Type and weights (rows, columns) f32, stacked matrices one after the other -> bytes of a file, (rows, row bytes) u8.

Each row is rounded in the same way whichever others come with it.
"""

_CHUNK_WEIGHTS = 1 << 19


@dataclass(frozen=True)
class TrialRounding:
    """A way to round tensors."""

    of: Callable[[TensorInputs | None], Round]
    """What rounds a tensor with these activations; None where they are not known."""
    needs_moments: bool = False
    """Whether it needs second moments of activations."""
    threads: int | None = None
    """That a measurement with it takes; None for all."""


def by_importance(threads: int) -> TrialRounding:
    """Errors cost the mean squares of what each column is multiplied with."""

    def of(inputs: TensorInputs | None) -> Round:
        costs = None if inputs is None else inputs.importance()
        return lambda type_, weights: _encoded(type_, weights, costs, threads)

    return TrialRounding(of, threads=threads)


def by_method(prepare: Callable[[np.ndarray], Round], threads: int) -> TrialRounding:
    """By a method that `prepare` sets up for second moments (columns, columns) f32; weighted where there are none."""

    def of(inputs: TensorInputs | None) -> Round:
        if inputs is None or inputs.moments is None:
            return by_importance(threads).of(inputs)
        return prepare(inputs.moments)

    return TrialRounding(of, needs_moments=True, threads=threads)


def _encoded(type_: GgmlType, weights: np.ndarray, costs: np.ndarray | None, threads: int) -> np.ndarray:
    rows, columns = weights.shape
    stored = np.empty((rows, row_nbytes(type_, columns)), np.uint8)
    per_matrix = rows if costs is None else rows // len(costs)

    def work(part: slice) -> None:
        importance = None if costs is None else costs[part.start // per_matrix]
        quants.encode(type_, weights[part], importance, stored[part])

    quants.compile_kernels((type_,), weighted=costs is not None)
    map_rows(work, rows, max(1, _CHUNK_WEIGHTS // columns), threads, per_matrix)
    return stored

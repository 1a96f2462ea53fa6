"""A matrix rounded for its inputs, some columns at a time, in whatever way a method chooses.

Columns are worked on in windows, so that the moments among them stay in a core's cache; what one window loses reaches
the others through products of matrices.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.rounding import level_codes, vector_codes
from quantize_cli.calibration.rounding.descent import CODES, SCALE_CODES, SCALES
from quantize_cli.calibration.rounding.level_codes import Codes, has_grid
from quantize_cli.calibration.rounding.vector_codes import RunCodes, has_lattice
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.jit.matrices import inverse_of_triangle, multiply

Chosen = Codes | RunCodes
"""What was decided for some columns, one by one or several at once."""

_WINDOW = 256
ALL = CODES | SCALE_CODES | SCALES


def windows(columns: int, type_: GgmlType) -> Iterator[slice]:
    """The columns of a row in order, whole blocks at a time."""
    block = BLOCK_SHAPE[type_].weights
    step = max(block, _WINDOW // block * block)
    return (slice(start, min(start + step, columns)) for start in range(0, columns, step))


def has_codes(type_: GgmlType) -> bool:
    """Whether codes of a type can be chosen in other ways than the reference's."""
    return has_grid(type_) or has_lattice(type_)


def searched(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> Chosen:
    """The reference's own choice for weights (rows, columns) f32 of columns that cost `importance` (columns,)."""
    search = level_codes.reference_codes if has_grid(type_) else vector_codes.reference_codes
    return search(type_, weights, importance)


def with_feedback(type_: GgmlType, weights: np.ndarray, inputs: Inputs) -> tuple[list[Chosen], np.ndarray]:
    """Weights (rows, n) f32 rounded with feedback: the codes of each window, and the error (rows, n) f32."""
    carry, conditional = inputs.factors
    error = np.zeros_like(weights)
    parts = []
    for window in windows(weights.shape[1], type_):
        target = weights[:, window] + multiply(error[:, : window.start], carry[: window.start, window])
        codes = searched(type_, target, np.ascontiguousarray(conditional[window]))
        error[:, window] = codes.carry(
            np.ascontiguousarray(weights[:, window]), target, np.ascontiguousarray(carry[window, window]),
            conditional[window],
        )  # fmt: skip
        parts.append(codes)
    return parts, error


def carried_between_blocks(type_: GgmlType, weights: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The same for types whose codes are only the reference's to choose: rows of a file, (rows, row bytes) u8.

    What a block loses is carried into those behind, which are rounded to what then costs least as a whole.
    """
    carry, conditional = inputs.factors
    error = np.zeros_like(weights)
    parts, width = [], BLOCK_SHAPE[type_].weights
    for start in range(0, weights.shape[1], width):
        block = slice(start, start + width)
        inner, owed = carry[block, block], multiply(error[:, :start], carry[:start, block])
        undone = inverse_of_triangle(inner.T.astype(np.float64)).T.astype(np.float32)
        cost = multiply(np.square(inner), conditional[block][:, None])[:, 0]
        target = weights[:, block] + multiply(owed, undone)
        stored = quants.encode(type_, target, np.ascontiguousarray(cost))
        error[:, block] = weights[:, block] - quants.decode(type_, stored)
        parts.append(stored)
    return np.concatenate(parts, axis=1)


def without_feedback(
    type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None
) -> tuple[list[Chosen], np.ndarray]:
    """The reference's choice for weights (rows, n) f32: the codes of each window, and the error (rows, n) f32."""
    error = np.empty_like(weights)
    whole = searched(type_, weights, importance)
    parts = [whole.columns(window) for window in windows(weights.shape[1], type_)]
    for codes, window in zip(parts, windows(weights.shape[1], type_), strict=True):
        error[:, window] = weights[:, window] - codes.weights()
    return parts, error


def improve(parts: Sequence[Chosen], error: np.ndarray, moments: np.ndarray, sweeps: int, changing: int = ALL) -> None:
    """Lessen the error (rows, n) f32 of all windows by coordinate descent; both are changed in place.

    `moments` (n, n) f32 says what errors cost.
    """
    for _ in range(sweeps):
        for codes, window in zip(parts, windows(error.shape[1], parts[0].type), strict=True):
            left = np.ascontiguousarray(error[:, window])
            gradient = np.ascontiguousarray(multiply(error, moments[:, window]))
            codes.descend(gradient, np.ascontiguousarray(moments[window, window]), left, changing)
            error[:, window] = left


def pack_windows(parts: Sequence[Chosen]) -> np.ndarray:
    """Windows side by side as rows of a file, (rows, row bytes) u8."""
    return np.concatenate([codes.pack() for codes in parts], axis=1)

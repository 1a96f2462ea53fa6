"""A matrix rounded for its inputs, some columns at a time, in whatever way a method chooses.

Columns are worked on in windows, so that the moments among them stay in a core's cache; what one window loses reaches
the others through products of matrices.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli import quants
from quantize_cli.calibrate._codes import Codes, has_grid, searched
from quantize_cli.calibrate._descent import CODES, SCALE_CODES, SCALES, descend
from quantize_cli.calibrate._feedback import round_with_feedback
from quantize_cli.calibrate._inputs import Inputs

_WINDOW = 256
_ROUNDS = 2
"""Times a window is gone over before the next one's turn."""
_NO_CODES = (1, 1)
ALL = CODES | SCALE_CODES | SCALES

__all__ = [
    "ALL", "CODES", "SCALES", "SCALE_CODES", "alone", "carried", "carried_between_windows", "has_grid", "improve",
    "improve_window", "packed", "windows",
]  # fmt: skip


def windows(columns: int, type_: GgmlType) -> Iterator[slice]:
    """The columns of a row in order, whole blocks at a time."""
    block = BLOCK_SHAPE[type_].weights
    step = max(block, _WINDOW // block * block)
    return (slice(start, min(start + step, columns)) for start in range(0, columns, step))


def carried(type_: GgmlType, wanted: np.ndarray, inputs: Inputs) -> tuple[list[Codes], np.ndarray]:
    """Wanted weights (rows, n) f32 rounded with feedback: the codes of each window, and the error (rows, n) f32."""
    carry, conditional = inputs.factors
    error = np.zeros_like(wanted)
    found = []
    for window in windows(wanted.shape[1], type_):
        target = wanted[:, window] + error[:, : window.start] @ carry[: window.start, window]
        codes = searched(type_, target, np.ascontiguousarray(conditional[window]))
        left = np.empty_like(target)
        round_with_feedback(
            np.ascontiguousarray(wanted[:, window]), target, np.ascontiguousarray(carry[window, window]),
            codes.step, codes.offset, codes.grid.group, codes.grid.levels, codes.grid.is_even, codes.level, left,
        )  # fmt: skip
        error[:, window] = left
        found.append(codes)
    return found, error


def carried_between_windows(type_: GgmlType, wanted: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The same for types whose codes stand for several weights at once: rows of a file, (rows, row bytes) u8.

    Within a window the reference chooses, and what it loses is carried into those behind.
    """
    carry, conditional = inputs.factors
    error = np.zeros_like(wanted)
    found = []
    for window in windows(wanted.shape[1], type_):
        target = wanted[:, window] + error[:, : window.start] @ carry[: window.start, window]
        stored = quants.encode(type_, target, np.ascontiguousarray(conditional[window]))
        error[:, window] = wanted[:, window] - quants.decode(type_, stored)
        found.append(stored)
    return np.concatenate(found, axis=1)


def alone(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None) -> tuple[list[Codes], np.ndarray]:
    """The reference's choice for weights (rows, n) f32: the codes of each window, and the error (rows, n) f32."""
    error = np.empty_like(weights)
    whole = searched(type_, weights, importance)
    found = [whole.columns(window) for window in windows(weights.shape[1], type_)]
    for codes, window in zip(found, windows(weights.shape[1], type_), strict=True):
        error[:, window] = weights[:, window] - codes.weights()
    return found, error


def improve(parts: Sequence[Codes], error: np.ndarray, moments: np.ndarray, sweeps: int, changing: int = ALL) -> None:
    """Lessen the error (rows, n) f32 of all windows by coordinate descent; both are changed in place.

    `moments` (n, n) f32 says what errors cost.
    """
    for _ in range(sweeps):
        for codes, window in zip(parts, windows(error.shape[1], parts[0].type), strict=True):
            left = np.ascontiguousarray(error[:, window])
            gradient = error @ moments[:, window]
            improve_window(codes, gradient, np.ascontiguousarray(moments[window, window]), left, changing)
            error[:, window] = left


def improve_window(codes: Codes, gradient: np.ndarray, moments: np.ndarray, error: np.ndarray, changing: int) -> None:
    """The same for one window, whose error (rows, columns) f32 has this gradient (rows, columns) f32."""
    grid = codes.grid
    descend(
        gradient, moments, grid.group, grid.levels, grid.is_even, grid.sign, grid.scale_codes or _NO_CODES,
        grid.minimum_codes or _NO_CODES, changing, _ROUNDS, codes.scale, codes.minimum, codes.scale_code,
        codes.minimum_code, codes.level, error,
    )  # fmt: skip


def packed(parts: Sequence[Codes]) -> np.ndarray:
    """Windows side by side as rows of a file, (rows, row bytes) u8."""
    return np.concatenate([codes.pack() for codes in parts], axis=1)

"""Half-quadratic quantization: without any text, minima and scales that fit most weights closely and let a few go.

The sum of |error|^p, p < 1, is lessened instead of that of squares: in turns the error is shrunk towards nought, where
large ones stay as they are, and the minimum of each group (where a type has none, its scale) is fitted to what remains
(Badri and Shaji, Half-Quadratic Quantization of Large Machine Learning Models, 2023). The scales of blocks, by which
groups' own are coded, are the reference's.
"""

from dataclasses import replace

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.folding.powers import powers_of
from quantize_cli.calibration.rounding.level_codes import Codes, has_grid, reference_codes
from quantize_cli.calibration.runner.method import Method
from quantize_cli.formats.ggml import GgmlType

_NORM = 0.7
_SHARPNESS, _GROWTH = 10.0, 1.01
"""The weight of the quadratic term, and what it is multiplied with in each turn (both as in the paper's code)."""
_TURNS = 20


def encode(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Weights (rows, columns) f32 -> rows of a file, (rows, row bytes) u8; as the reference does without a grid."""
    if not has_grid(type_):
        return quants.encode(type_, weights, importance)
    return _fitted(reference_codes(type_, weights, importance), weights).pack()


def _fitted(codes: Codes, weights: np.ndarray) -> Codes:
    """Codes with groups fitted anew; rows for which that is worse in the norm stay."""
    groups = weights.reshape(*codes.scale_code.shape, codes.grid.group)
    step, offset = codes.step[..., None], codes.offset[..., None]
    sharpness = _SHARPNESS
    for _ in range(_TURNS):
        levels = codes.grid.levels[_nearest(codes, groups, step, offset)]
        kept = groups - _shrunk(groups - (step * levels + offset), sharpness)
        if codes.grid.sign:
            offset = (kept - step * levels).mean(axis=2, keepdims=True)
        else:
            energy = np.square(levels).sum(axis=2, keepdims=True)
            fitted = (kept * levels).sum(axis=2, keepdims=True)
            step = np.divide(fitted, energy, out=step.copy(), where=energy > 0)
        sharpness *= _GROWTH
    fitted_codes = _coded(codes, step[..., 0], offset[..., 0])
    level = _nearest(fitted_codes, groups, fitted_codes.step[..., None], fitted_codes.offset[..., None])
    return _better(replace(fitted_codes, level=level.reshape(weights.shape)), codes, weights)


def _shrunk(error: np.ndarray, sharpness: float) -> np.ndarray:
    """The error that least |error|^p and the quadratic term agree on (the generalized soft threshold)."""
    size = np.abs(error)
    threshold = np.where(size > 0, powers_of(size, _NORM - 1), np.float32(np.inf)) / np.float32(sharpness)
    shrunk: np.ndarray = np.sign(error) * np.maximum(size - threshold, 0)
    return shrunk


def _nearest(codes: Codes, groups: np.ndarray, step: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Numbers of the levels nearest to weights (rows, groups, group) u8."""
    target = np.divide(groups - offset, step, out=np.zeros_like(groups), where=step != 0)
    levels = codes.grid.levels
    nearest: np.ndarray = np.searchsorted((levels[1:] + levels[:-1]) / 2, target).astype(np.uint8)
    return nearest


def _coded(codes: Codes, step: np.ndarray, offset: np.ndarray) -> Codes:
    """The codes nearest to steps and offsets (rows, groups), the scales and minima of blocks staying."""
    grid = codes.grid
    if grid.sign:
        if grid.minimum_codes is None:
            return replace(codes, minimum=(grid.sign * offset).astype(np.float16).astype(np.float32))
        unit = grid.sign * codes.of_groups(codes.minimum)
        return replace(codes, minimum_code=_quotient(offset, unit, grid.minimum_codes))
    if grid.scale_codes is None:
        return replace(codes, scale=step.astype(np.float16).astype(np.float32))
    return replace(codes, scale_code=_quotient(step, codes.of_groups(codes.scale), grid.scale_codes))


def _quotient(values: np.ndarray, unit: np.ndarray, ends: tuple[int, int]) -> np.ndarray:
    whole = np.rint(np.divide(values, unit, out=np.zeros_like(values), where=unit != 0))
    codes: np.ndarray = np.clip(whole, *ends).astype(np.int16)
    return codes


def _better(fitted: Codes, codes: Codes, weights: np.ndarray) -> Codes:
    """By rows, whichever loses less in the norm."""
    losses = [powers_of(np.abs(weights - each.weights()), _NORM).sum(axis=1) for each in (fitted, codes)]
    wins = (losses[0] < losses[1])[:, None]
    fields = ("scale", "minimum", "scale_code", "minimum_code", "level")
    return replace(codes, **{name: np.where(wins, getattr(fitted, name), getattr(codes, name)) for name in fields})


METHOD = Method(encode=encode)

"""What rounding for known inputs is about, in float64 and in loops as the formulas have it; and what it is tried on."""

import numpy as np

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType

GRIDS = tuple(type_ for type_ in quants.supported() if quants.find(type_).grid is not None)
LATTICES = tuple(type_ for type_ in quants.supported() if quants.find(type_).lattice is not None)
GRIDLESS = (GgmlType.MXFP4, GgmlType.NVFP4)
"""With neither: their scales are no halves."""
DECODED = 2.0**-20
"""Of the largest magnitude: float32 sums of a few terms, in another order than a decoder's."""
SUMMED = 1e-5
"""Relative, of costs: they are lessened in float32 and added up here in float64."""


def weights(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Normal, some columns larger than others, float32."""
    random = np.random.default_rng(seed)
    return (0.02 * random.normal(size=(rows, columns)) * random.uniform(0.5, 2, columns)).astype(np.float32)


def tokens(count: int, columns: int, seed: int = 1) -> np.ndarray:
    """Inputs (count, columns) f32 whose columns go together, as those of real models do."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, columns)) @ random.normal(0, columns**-0.5, (columns, columns))
    return (mixed + random.normal(size=(count, 1)) * random.uniform(0, 1, columns)).astype(np.float32)


def moments(columns: int, seed: int = 1) -> np.ndarray:
    """Second moments (columns, columns) f64 of such inputs, one on the diagonal on average."""
    x = tokens(2 * columns, columns, seed).astype(np.float64)
    second = x.T @ x
    return np.asarray(second / second.diagonal().mean())


def costs(error: np.ndarray, second: np.ndarray) -> np.ndarray:
    """E H E^T of each row, (rows,) f64."""
    error, second = error.astype(np.float64), second.astype(np.float64)
    return np.array([row @ second @ row for row in error])


def left(type_: GgmlType, wanted: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """What is lost in the bytes of a file, (rows, columns) f64."""
    return wanted.astype(np.float64) - quants.decode(type_, stored)


def targets(wanted: np.ndarray, error: np.ndarray, carry: np.ndarray) -> np.ndarray:
    """t_k = w_k + sum over j < k of (w_j - q_j) R_jk, one column after the other, f64."""
    found = wanted.astype(np.float64)
    for k in range(found.shape[1]):
        for j in range(k):
            found[:, k] += error[:, j].astype(np.float64) * float(carry[j, k])
    return found


def nearest(target: float, levels: np.ndarray) -> float:
    """How far the nearest of some levels is."""
    return min(abs(target - float(level)) for level in levels)

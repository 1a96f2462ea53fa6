"""Weights of every kind a quantizer must survive, and importance to go with them, from fixed seeds."""

from collections.abc import Callable

import numpy as np

COLUMNS = 1024


def _normal(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.standard_normal(size) * 0.02


def _one_huge(rng: np.random.Generator, size: int) -> np.ndarray:
    weights = _normal(rng, size)
    weights[size // 3] = 3e38
    return weights


def _outlier_in_each_block(rng: np.random.Generator, size: int) -> np.ndarray:
    weights = _normal(rng, size)
    weights[::256] = 1e6
    return weights


def _mostly_zero_groups(rng: np.random.Generator, size: int) -> np.ndarray:
    weights = _normal(rng, size).reshape(-1, 16)
    weights[::3] = 0
    weights[1::3] *= 1e-12
    return weights.reshape(-1)


def _signed_zeros(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.where(rng.random(size) < 0.5, 0.0, -0.0)


def _group_magnitudes(rng: np.random.Generator, size: int) -> np.ndarray:
    exponents = rng.integers(-149, 126, size // 16)
    return rng.standard_normal(size) * np.repeat(2.0**exponents, 16)


_MAKERS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": _normal,
    "heavy-tailed": lambda rng, size: rng.standard_cauchy(size),
    "student": lambda rng, size: rng.standard_t(4, size),
    "constant": lambda rng, size: np.full(size, 0.37),
    "negative constant": lambda rng, size: np.full(size, -0.37),
    "zero": lambda rng, size: np.zeros(size),
    "signed zeros": _signed_zeros,
    "denormal": lambda rng, size: rng.standard_normal(size) * 1e-40,
    "tiny": lambda rng, size: rng.standard_normal(size) * 1e-9,
    "one huge value": _one_huge,
    "an outlier in each block": _outlier_in_each_block,
    "huge": lambda rng, size: rng.standard_normal(size) * 1e30,
    "positive": lambda rng, size: np.abs(_normal(rng, size)),
    "mostly zero groups": _mostly_zero_groups,
    "three levels": lambda rng, size: rng.choice([-1.0, 0.0, 1.0], size),
    "all magnitudes": lambda rng, size: _normal(rng, size) * np.exp(rng.uniform(-60, 60, size)),
    "group magnitudes": _group_magnitudes,
}

NAMES = tuple(_MAKERS)
OVERFLOWING = ("one huge value", "huge", "all magnitudes", "group magnitudes")
"""Weights whose products with their squares are past float32."""
IMPORTANCES = ("none", "random", "with zeros")


def weights(name: str, size: int = 1 << 20) -> np.ndarray:
    """`size` weights of a kind, (size / 1024, 1024) f32."""
    rng = np.random.default_rng(NAMES.index(name))
    return _MAKERS[name](rng, size).astype(np.float32).reshape(-1, min(COLUMNS, size))


def importance(name: str, columns: int = COLUMNS) -> np.ndarray | None:
    """Importance of each column, (columns,) f32, or None."""
    rng = np.random.default_rng(99)
    costs = rng.random(columns) ** 4
    if name == "with zeros":
        costs *= rng.random(columns) > 0.3
    return None if name == "none" else costs.astype(np.float32)

"""The exponential and its kin are within 2 ulp of float64's, and right at the ends."""

from collections.abc import Callable

import numpy as np

from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import load, store
from quantize_cli.runtime.kernels import exponential


@kernel
def exponentials(x, y):
    for row in range(x.shape[0]):
        store(y, row, 0, exponential.exponential(load(x, row, 0)))


@kernel
def tangents(x, y):
    for row in range(x.shape[0]):
        store(y, row, 0, exponential.tanh(load(x, row, 0)))


def applied(function: Callable[[np.ndarray, np.ndarray], None], x: np.ndarray) -> np.ndarray:
    """The function of x (n,) f32."""
    padded = np.zeros((-(-x.size // 16), 16), np.float32)
    padded.reshape(-1)[: x.size] = x
    y = np.empty_like(padded)
    function(padded, y)
    return y.reshape(-1)[: x.size]


def ulps(found: np.ndarray, expected: np.ndarray) -> float:
    distance: float = (np.abs(found - expected) / np.spacing(np.abs(expected).astype(np.float32))).max()
    return distance


def spread(low: float, high: float) -> np.ndarray:
    even = np.linspace(low, high, 400_000)
    small = np.concatenate([sign * np.logspace(-30, 0, 50_000) for sign in (-1, 1)])
    return np.concatenate([even, small]).astype(np.float32)


def test_exponential() -> None:
    x = spread(-87, 88)
    assert ulps(applied(exponentials, x), np.exp(x.astype(float))) <= 2


def test_exponential_at_the_ends() -> None:
    x = np.array([-np.inf, -1e30, -104, -88, 0, 89, 1e30, np.inf], np.float32)
    assert np.array_equal(applied(exponentials, x), [0, 0, 0, 0, 1, np.inf, np.inf, np.inf])
    assert np.isnan(applied(exponentials, np.array([np.nan, -np.nan], np.float32))).all()


def test_tanh() -> None:
    x = spread(-20, 20)
    assert ulps(applied(tangents, x), np.tanh(x.astype(float))) <= 2
    ends = np.array([-np.inf, -1e30, 0, 1e30, np.inf], np.float32)
    assert np.array_equal(applied(tangents, ends), [-1, -1, 0, 1, 1])
    assert np.isnan(applied(tangents, np.array([np.nan], np.float32))).all()

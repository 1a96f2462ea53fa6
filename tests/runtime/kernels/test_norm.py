"""Norms are the formula in float64, in place or not, however many threads share the rows."""

import numpy as np
import pytest

from quantize_cli.runtime.kernels.norm import norm
from tests.runtime.kernels.machine import numbers, run

SHAPES = [(1, 1), (1, 2048), (3, 15), (4, 64), (5, 100), (2, 145)]
EPSILON = float(np.float32(1e-5))


def expected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, centres: bool) -> np.ndarray:
    x = x.astype(float)
    if centres:
        x = x - x.mean(axis=1, keepdims=True)
    normed: np.ndarray = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPSILON) * weight
    return normed + bias if bias.size else normed


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("centres", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_norm(shape: tuple[int, int], centres: bool, biased: bool, count: int) -> None:
    x, weight = numbers(0, *shape) + np.float32(0.5), numbers(1, 1, shape[1])
    bias = numbers(2, 1, shape[1] if biased else 0)
    y = np.empty_like(x)
    run(norm, x=x, weight=weight, bias=bias, y=y, epsilon=EPSILON, centres=centres, count=count)
    # Seven or so roundings, of numbers below five.
    np.testing.assert_allclose(y, expected(x, weight, bias, centres), rtol=1e-6, atol=2e-6)
    run(norm, x=x, weight=weight, bias=bias, y=x, epsilon=EPSILON, centres=centres, count=3 - count)
    assert x.tobytes() == y.tobytes()

"""Functions of float64 are within two units in the last place of the C library's."""

import numpy as np
import pytest

from quantize_cli.jit import elementary

UNITS = 2


def units(found: np.ndarray, expected: np.ndarray) -> float:
    distance: float = (np.abs(found - expected) / np.spacing(np.abs(expected))).max()
    return distance


def uniform(low: float, high: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, 20000)


@pytest.mark.parametrize("reach", [1e-3, 1.0, 700.0])
def test_exponentials(reach: float) -> None:
    x = uniform(-reach, reach)
    assert units(elementary.exponential(x), np.exp(x)) <= UNITS


def test_the_ends_of_exponentials() -> None:
    found = elementary.exponential(np.array([0.0, -1e9, 1e9, -np.inf, np.inf, np.nan]))
    assert np.array_equal(found, [1, 0, np.inf, 0, np.inf, np.nan], equal_nan=True)


@pytest.mark.parametrize("reach", [1e-3, 1.0, 700.0])
def test_logarithms(reach: float) -> None:
    x = np.exp(uniform(-reach, reach))
    assert units(elementary.logarithm(x), np.log(x)) <= UNITS


def test_powers() -> None:
    x = uniform(1e-3, 1e3)
    assert np.allclose(elementary.power(x, 0.3), x**0.3, rtol=1e-14, atol=0)
    assert np.array_equal(elementary.power(x, 0), np.ones_like(x))


@pytest.mark.parametrize("reach", [1.0, 1e5, 2.0**31])
def test_sines_and_cosines(reach: float) -> None:
    angles = uniform(-reach, reach).astype(np.float32).astype(np.float64)
    for found, expected in zip(elementary.sine_and_cosine(angles), (np.sin(angles), np.cos(angles)), strict=True):
        assert np.abs(found - expected).max() < 3e-16


def test_shapes_stay() -> None:
    assert elementary.exponential(np.zeros((2, 3))).shape == (2, 3)
    assert elementary.logarithm(np.array(2.0)).shape == ()

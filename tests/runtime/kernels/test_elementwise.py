"""Operations on single numbers agree with numpy in float64, and every thread computes what one alone would."""

from collections.abc import Callable
from math import erf

import numpy as np
import pytest

from quantize_cli.jit.operation import Operation
from quantize_cli.runtime.kernels import elementwise
from tests.runtime.kernels.machine import numbers, run

SHAPES = [(1, 1), (1, 15), (1, 2048), (1, 83), (3, 16), (5, 33), (2, 7)]
NEAR = 4e-7
"""A few roundings of float32, as a share of one."""


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": lambda y, x: y + x,
    "add_row": lambda y, x: y + x[:1],
    "gate_silu": lambda y, x: y * silu(x),
    "gate_gelu": lambda y, x: y * gelu(x),
}
SINGLES: dict[str, tuple[dict[str, float], Callable[[np.ndarray], np.ndarray]]] = {
    "soft_cap": ({"cap": 3.5}, lambda y: 3.5 * np.tanh(y / 3.5)),
    "gelu": ({}, gelu),
    "exact_gelu": ({}, lambda y: 0.5 * y * (1 + np.vectorize(erf)(y / np.sqrt(2)))),
    "scale": ({"factor": 0.22}, lambda y: np.float32(0.22) * y),
    "clamp": ({"bound": 1.5}, lambda y: np.clip(y, -1.5, 1.5)),
}


def named(name: str) -> Operation:
    found: Operation = getattr(elementwise, name)
    return found


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PAIRS)
def test_two_arrays(name: str, shape: tuple[int, int], count: int) -> None:
    y, x = 4 * numbers(0, *shape), 4 * numbers(1, *shape)
    expected = PAIRS[name](y.astype(float), x.astype(float))
    first, second = named(name).arguments.fields
    run(named(name), **{first: y, second: x[0].copy() if name == "add_row" else x}, count=count)
    assert np.abs(y - expected).max() <= NEAR * (1 + np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SINGLES)
def test_one_array(name: str, shape: tuple[int, int], count: int) -> None:
    y = 4 * numbers(0, *shape)
    parameters, formula = SINGLES[name]
    expected = formula(y.astype(float))
    run(named(name), y=y, **parameters, count=count)
    assert np.abs(y - expected).max() <= NEAR * (1 + np.abs(expected).max())


@pytest.mark.parametrize("name", ["gate_silu", "gate_gelu"])
def test_gates_are_shut_and_open_at_the_ends(name: str) -> None:
    """Where the exponential overflows, and where it vanishes."""
    up, gate = np.full((1, 4), 2, np.float32), np.array([[-1e4, -200, 200, 1e4]], np.float32)
    run(named(name), up=up, gate=gate)
    assert np.array_equal(up, [[0, 0, 400, 2e4]])


@pytest.mark.parametrize("shape", SHAPES)
def test_threads_change_no_byte(shape: tuple[int, int]) -> None:
    alone, shared, gate = numbers(0, *shape), numbers(0, *shape), numbers(1, *shape)
    run(elementwise.gate_silu, up=alone, gate=gate, count=1)
    run(elementwise.gate_silu, up=shared, gate=gate, count=2)
    assert alone.tobytes() == shared.tobytes()

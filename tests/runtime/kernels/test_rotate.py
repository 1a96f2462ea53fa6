"""Rotations multiply pairs, as complex numbers, by turns; columns past the pairs stay as they are."""

import numpy as np
import pytest

from quantize_cli.runtime.kernels.rotate import rotate_adjacent, rotate_halves
from tests.runtime.kernels.machine import numbers, run

SIZES = [(8, 4), (6, 2), (64, 32), (80, 40), (64, 16), (96, 25), (128, 64), (34, 9)]


def turned(vectors: np.ndarray, turns: np.ndarray, first: slice, second: slice) -> np.ndarray:
    """Vectors (n, heads, width) whose columns `first` and `second` are the pairs; turns (n, 1, pairs) complex."""
    expected = vectors.astype(float)
    product = (expected[..., first] + 1j * expected[..., second]) * turns
    expected[..., first], expected[..., second] = product.real, product.imag
    return expected


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("rows", "positions"), [(1, 1), (3, 3), (10, 5)])
@pytest.mark.parametrize(("width", "pairs"), SIZES)
@pytest.mark.parametrize("adjacent", [False, True])
def test_rotation(adjacent: bool, width: int, pairs: int, rows: int, positions: int, count: int) -> None:
    vectors, cosines, sines = numbers(0, rows, 3 * width), numbers(1, positions, pairs), numbers(2, positions, pairs)
    turns = np.resize(cosines + 1j * sines.astype(float), (rows, pairs))[:, None]
    columns = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    if not adjacent:
        columns = slice(0, pairs), slice(pairs, 2 * pairs)
    expected = turned(vectors.reshape(rows, 3, width), turns, *columns).reshape(rows, -1)
    operation = rotate_adjacent if adjacent else rotate_halves
    run(operation, vectors=vectors, cosines=cosines, sines=sines, width=width, count=count)
    # Three roundings of products of numbers below five.
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=4e-6)

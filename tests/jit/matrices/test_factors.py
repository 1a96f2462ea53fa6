"""Factors and inverses undo what they are of, as nearly as float64 can."""

import numpy as np
import pytest

from quantize_cli.jit import matrices

NEAR = 1e-10
"""Of matrices whose condition is in the hundreds."""


def positive(size: int) -> np.ndarray:
    x = np.random.default_rng(size).standard_normal((2 * size + 1, size))
    found: np.ndarray = x.T @ x / len(x) + 0.05 * np.eye(size)
    return found


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_a_factor_is_lower_and_multiplies_to_its_matrix(size: int) -> None:
    lower = matrices.cholesky(positive(size))
    assert np.array_equal(lower, np.tril(lower))
    assert np.abs(lower @ lower.T - positive(size)).max() < NEAR


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_an_inverse_is_symmetric_and_undoes_its_matrix(size: int) -> None:
    found = matrices.inverse(positive(size))
    assert np.array_equal(found, found.T)
    assert np.abs(found @ positive(size) - np.eye(size)).max() < NEAR


def test_the_inverse_of_a_triangle_is_one() -> None:
    lower = matrices.cholesky(positive(150))
    found = matrices.inverse_of_triangle(lower)
    assert np.array_equal(found, np.tril(found))
    assert np.abs(found @ lower - np.eye(150)).max() < NEAR


@pytest.mark.parametrize("place", [0, 70])
def test_what_is_not_positive_definite_is_refused(place: int) -> None:
    matrix = np.eye(100)
    matrix[place, place] = -1
    with pytest.raises(np.linalg.LinAlgError):
        matrices.cholesky(matrix)


def test_small_inverses() -> None:
    many = np.stack([positive(8), 7 * positive(8)])
    assert np.abs(matrices.inverses(many) @ many - np.eye(8)).max() < NEAR


def test_what_depends_on_others_is_left_out_of_a_small_inverse() -> None:
    matrix = np.zeros((8, 8))
    matrix[:3, :3] = positive(3)
    matrix[5] = matrix[0]
    matrix[:, 5] = matrix[:, 0]  # column 5 says what column 0 says
    found = matrices.inverses(matrix[None])[0]
    assert np.abs(matrix @ found @ matrix - matrix).max() < NEAR
    assert not found[[3, 4, 5, 6, 7]].any()


def test_small_triangles() -> None:
    upper = np.triu(positive(8))[None]
    assert np.abs(matrices.inverses_of_triangles(upper)[0] @ upper[0] - np.eye(8)).max() < NEAR


def test_small_weighted_grams() -> None:
    factors, weights = positive(8)[None], np.arange(8, dtype=np.float32)[None]
    assert np.allclose(matrices.weighted_grams(factors, weights)[0], factors[0] @ np.diag(weights[0]) @ factors[0].T)

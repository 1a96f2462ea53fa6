"""Products have the bits of sums in the order of their terms, whatever their shape, layout and number of threads."""

import numpy as np
import pytest

from quantize_cli.jit import matrices
from quantize_cli.jit.matrices import products
from tests.jit.matrices import naive

KINDS = [np.float32, np.float64]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Of very different sizes, so that each rounding shows."""
    random = np.random.default_rng(seed)
    found: np.ndarray = random.standard_normal(shape) * 2.0 ** random.integers(-12, 12, shape)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (9, 40, 33)], ids=str)
def test_a_product_is_its_naive_twin(shape: tuple[int, int, int], kind: type) -> None:
    rows, depth, columns = shape
    left, right = numbers(rows, depth).astype(kind), numbers(depth, columns, seed=1).astype(kind)
    assert np.array_equal(matrices.multiply(left, right), naive.product(left, right))


@pytest.mark.parametrize("kind", KINDS)
def test_more_terms_than_are_added_in_one_turn(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = numbers(20, 70).astype(kind), numbers(70, 50, seed=1).astype(kind)
    whole = matrices.multiply(left, right)
    monkeypatch.setattr(products, "_DEPTH", 16)
    assert np.array_equal(whole, matrices.multiply(left, right))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_layout_nor_neighbours_change_a_bit(kind: type) -> None:
    left, right = numbers(300, 90).astype(kind), numbers(90, 70, seed=1).astype(kind)
    whole = matrices.multiply(left, right)
    turned = matrices.multiply(np.asfortranarray(left), np.asfortranarray(right))
    part = matrices.multiply(left[17:19], right[:, 31:64])
    assert np.array_equal(whole, turned)
    assert np.array_equal(whole[17:19, 31:64], part)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ALONE", 0)
    x = numbers(300, 90).astype(np.float32)
    assert np.array_equal(matrices.multiply(x, x.T, 3), matrices.multiply(x, x.T))


def test_a_product_of_no_terms_is_zero() -> None:
    assert np.array_equal(
        matrices.multiply(np.empty((3, 0), np.float32), np.empty((0, 2), np.float32)), np.zeros((3, 2))
    )

"""Sums over tokens have the bits of sums in a fixed order, whatever a processor multiplies with."""

import os
import subprocess
import sys

import numpy as np
import pytest

from quantize_cli.jit import matrices
from quantize_cli.jit.matrices import products
from tests.jit.matrices import naive
from tests.jit.matrices.test_products import numbers

DIGEST = """
import hashlib
import numpy as np
from quantize_cli.jit import matrices
random = np.random.default_rng(0)
left, right = (
    (random.standard_normal((301, n)) * 2.0 ** random.integers(-70, 40, (301, n))).astype(np.float32) for n in (50, 70)
)
totals = np.zeros((50, 50)), np.zeros((50, 70))
matrices.add_gram(totals[0], left)
matrices.add_gram(totals[1], left, right)
print(hashlib.sha256(b"".join(total.tobytes() for total in totals)).hexdigest())
"""


def activations(*shape: int, seed: int = 0) -> np.ndarray:
    found: np.ndarray = numbers(*shape, seed=seed).astype(np.float32)
    return found


@pytest.mark.parametrize("tokens", [1, 2, 256, 301])
def test_a_gram_is_its_naive_twin(tokens: int) -> None:
    x = activations(tokens, 11)
    total = numbers(11, 11, seed=1)
    total += total.T
    expected = total + naive.gram(x, x)
    matrices.add_gram(total, x)
    assert np.array_equal(expected, total)


def test_a_gram_of_two_matrices() -> None:
    left, right = activations(40, 9), activations(40, 35, seed=1)
    total = np.zeros((9, 35))
    matrices.add_gram(total, left, right)
    assert np.array_equal(naive.gram(left, right), total)


def test_activations_laid_out_serve_several_sums() -> None:
    left, right = activations(300, 40), activations(300, 70, seed=1)
    packed, expected, found = matrices.pack(right), np.zeros((40, 70)), np.zeros((40, 70))
    matrices.add_gram(expected, left, right)
    matrices.add_packed_gram(found, matrices.pack(left), packed)
    assert np.array_equal(expected, found)
    expected, found = np.zeros((70, 70)), np.zeros((70, 70))
    matrices.add_gram(expected, right)
    matrices.add_packed_gram(found, packed, packed)
    assert np.array_equal(expected, found)
    assert np.array_equal(found, found.T)


def test_numbers_too_small_count_for_nothing() -> None:
    x = np.array([[2.0**-57, 2.0**-56, -(2.0**-140), 1]], np.float32)
    total = np.zeros((4, 4))
    matrices.add_gram(total, x)
    assert np.array_equal(total[3], [0, 2.0**-56, 0, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -np.nan])
def test_what_is_not_finite_stays_so(value: float) -> None:
    x = np.ones((3, 20), np.float32)
    x[1, 2] = value
    total = np.zeros((20, 20))
    matrices.add_gram(total, x)
    assert np.array_equal(~np.isfinite(total), (np.arange(20) == 2) | (np.arange(20) == 2)[:, None])


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ALONE", 0)
    x, totals = activations(300, 190), np.zeros((2, 190, 190))
    matrices.add_gram(totals[0], x)
    matrices.add_gram(totals[1], x, threads=3)
    assert np.array_equal(*totals)


def test_processors_that_multiply_no_pairs_give_the_same_bits() -> None:
    digests = set()
    for named in ({}, {"NUMBA_CPU_NAME": "haswell"}):
        command = [sys.executable, "-W", "ignore", "-c", DIGEST]
        done = subprocess.run(command, env={**os.environ, **named}, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1

"""Products of bfloat16 are those of what activations are rounded to, and have the same bits on every processor."""

import os
import subprocess
import sys

import numpy as np
import pytest

from quantize_cli import dots
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants import encode
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Recorder
from tests.jit.matrices import naive

DIGEST = """
import hashlib
from tests.dots.test_bfloat16 import multiplied, numbers
print(hashlib.sha256(multiplied(numbers(0, 19, 98), numbers(1, 37, 98)).tobytes()).hexdigest())
"""


def numbers(seed: int, *shape: int) -> np.ndarray:
    """Of very different sizes, so that each rounding shows."""
    random = np.random.default_rng(seed)
    found: np.ndarray = (random.standard_normal(shape) * 2.0 ** random.integers(-70, 9, shape)).astype(np.float32)
    return found


def multiplied(x: np.ndarray, weights: np.ndarray, bfloat16: bool = True) -> np.ndarray:
    dot, recorder = dots.find(GgmlType.BF16), Recorder(Threads(2), bfloat16)
    assert dot is not None
    out = np.empty((len(x), len(weights)), np.float32)
    recorder.multiply(encode(GgmlType.BF16, weights), dot, x, out)
    recorder.run()
    return out


@pytest.mark.parametrize(("tokens", "rows", "columns"), [(4, 1, 2), (8, 32, 6), (9, 33, 34)])
def test_a_product_is_its_naive_twin(tokens: int, rows: int, columns: int) -> None:
    """Of each two columns the second first."""
    x, weights = numbers(0, tokens, columns), numbers(1, rows, columns)
    order = np.arange(columns) ^ 1
    expected = naive.product(naive.bfloat16(x)[:, order], naive.bfloat16(weights).T[order])
    assert np.array_equal(expected, multiplied(x, weights))


@pytest.mark.parametrize(("tokens", "columns"), [(3, 64), (9, 33)])
def test_few_activations_and_odd_columns_are_multiplied_as_they_are(tokens: int, columns: int) -> None:
    x, weights = numbers(0, tokens, columns), numbers(1, 20, columns)
    assert np.array_equal(multiplied(x, weights, bfloat16=False), multiplied(x, weights))


def test_processors_that_multiply_no_pairs_give_the_same_bits() -> None:
    digests = set()
    for named in ({}, {"NUMBA_CPU_NAME": "haswell"}):
        command = [sys.executable, "-W", "ignore", "-c", DIGEST]
        done = subprocess.run(command, env={**os.environ, **named}, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1

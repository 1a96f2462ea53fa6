"""Products with packed blocks: those of ggml, however many activations there are, on any number of threads."""

import numpy as np
import pytest

from quantize_cli import dots, plugins, quants
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.runtime.activations import quantize_activations
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Recorder
from tests import oracle

TYPES = [GgmlType[name.upper()] for name in plugins.names("dots")]
SUMS = 1e-11
"""Normalized squared error: float32 sums in another order."""
BOUNDS = {GgmlType.F16: 1e-6, GgmlType.BF16: 1e-4}
"""ggml rounds activations to what these weights are rounded to."""


def product(type_: GgmlType, stored: np.ndarray, x: np.ndarray, threads: int = 1) -> np.ndarray:
    dot = dots.find(type_)
    assert dot is not None
    out = np.full((len(x), len(stored)), np.nan, np.float32)
    recorder = Recorder(Threads(threads))
    recorder.multiply(stored, dot, x, out)
    recorder.run()
    return out


def normalized_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.square(found.astype(float) - expected).sum() / np.square(expected.astype(float)).sum())


def example(type_: GgmlType, rows: int, blocks: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of normal weights, and activations."""
    random = np.random.default_rng(rows + blocks + count)
    columns = blocks * max(32, BLOCK_SHAPE[type_].weights)
    weights = random.normal(0, 0.02, (rows, columns)).astype(np.float32)
    return quants.encode(type_, weights), random.normal(0, 1, (count, columns)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_products_are_those_of_ggml(type_: GgmlType, count: int) -> None:
    stored, x = example(type_, 17, 3, count)
    expected = oracle.product(type_, stored, x)
    assert normalized_error(product(type_, stored, x), expected) < BOUNDS.get(type_, SUMS)


@pytest.mark.parametrize("rows", [1, 15, 16, 100])
@pytest.mark.parametrize("count", [1, 3, 8, 17])
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_products_of_any_size_are_those_of_decoded_weights(type_: GgmlType, count: int, rows: int) -> None:
    stored, x = example(type_, rows, 5, count)
    expected = quantize_activations(x, type_).astype(float) @ quants.decode(type_, stored).T.astype(float)
    bound = 1e-5 if type_ in (GgmlType.Q4_1, GgmlType.Q5_1) else SUMS  # whose sums are rounded to halves
    assert normalized_error(product(type_, stored, x), expected) < bound


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_products_do_not_depend_on_the_number_of_threads(type_: GgmlType, count: int) -> None:
    stored, x = example(type_, 90, 2, count)
    alone = product(type_, stored, x)
    assert np.array_equal(alone, product(type_, stored, x, threads=2))
    assert np.array_equal(alone, product(type_, stored, x, threads=5))

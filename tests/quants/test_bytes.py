"""Every type's bytes are ggml's, for weights of every kind, with and without importance."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType
from tests import distributions, naive_iq, oracle

TYPES = [type_ for type_ in quants.supported() if type_ is not GgmlType.F32]
BLOCK_TYPES = [type_ for type_ in TYPES if type_ not in FLOAT_TYPES]
UNWEIGHTED_TYPES = [type_ for type_ in TYPES if not quants.find(type_).needs_importance]


def _weights(type_: GgmlType, kind: str, size: int) -> np.ndarray:
    """Weights of a kind; fewer for the types whose search is slow, and none where ggml stops: see test_codebooks.py."""
    if type_.name not in naive_iq.TWINS:
        return distributions.weights(kind, size)
    if kind in distributions.OVERFLOWING:
        pytest.skip("the search through a codebook overflows, and ggml stops")
    return distributions.weights(kind, 1 << 16)


@pytest.mark.parametrize("kind", distributions.NAMES)
@pytest.mark.parametrize("type_", UNWEIGHTED_TYPES, ids=lambda t: t.name)
def test_bytes_are_those_of_ggml(type_: GgmlType, kind: str) -> None:
    weights = _weights(type_, kind, 1 << 20)
    np.testing.assert_array_equal(quants.encode(type_, weights), oracle.quantize(type_, weights))


@pytest.mark.parametrize("kind", distributions.NAMES)
@pytest.mark.parametrize("costs", ["random", "with zeros"])
@pytest.mark.parametrize("type_", BLOCK_TYPES, ids=lambda t: t.name)
def test_bytes_with_importance_are_those_of_ggml(type_: GgmlType, costs: str, kind: str) -> None:
    weights, importance = _weights(type_, kind, 1 << 18), distributions.importance(costs)
    expected = oracle.quantize(type_, weights, importance)
    np.testing.assert_array_equal(quants.encode(type_, weights, importance), expected)


@pytest.mark.parametrize("kind", distributions.NAMES)
@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_dequantized_weights_are_those_of_ggml_bit_for_bit(type_: GgmlType, kind: str) -> None:
    importance = distributions.importance("random") if quants.find(type_).needs_importance else None
    packed = quants.encode(type_, _weights(type_, kind, 1 << 18), importance)
    ours, theirs = quants.decode(type_, packed), oracle.dequantize(type_, packed)
    np.testing.assert_array_equal(ours.reshape(-1).view(np.uint32), theirs.reshape(-1).view(np.uint32))


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_any_block_at_all_dequantizes_as_in_ggml(type_: GgmlType) -> None:
    nbytes = quants.find(type_).block.itemsize
    packed = np.random.default_rng(5).integers(0, 256, (4096, nbytes), np.uint8)
    ours, theirs = quants.decode(type_, packed).reshape(-1), oracle.dequantize(type_, packed).reshape(-1)
    both_nan = np.isnan(ours) & np.isnan(theirs)  # the sign of a NaN depends on how its sum was compiled
    np.testing.assert_array_equal(ours.view(np.uint32)[~both_nan], theirs.view(np.uint32)[~both_nan])
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "constant", "zero", "denormal", "one huge value"])
@pytest.mark.parametrize("costs", distributions.IMPORTANCES)
@pytest.mark.parametrize("type_", BLOCK_TYPES, ids=lambda t: t.name)
def test_bytes_of_a_million_weights_are_those_of_ggml(type_: GgmlType, costs: str, kind: str) -> None:
    if type_.name in naive_iq.TWINS and kind in distributions.OVERFLOWING:
        pytest.skip("the search through a codebook overflows, and ggml stops")
    if costs == "none" and quants.find(type_).needs_importance:
        pytest.skip("ggml refuses the type without importance")
    weights, importance = distributions.weights(kind, 1 << 20), distributions.importance(costs)
    expected = oracle.quantize(type_, weights, importance)
    np.testing.assert_array_equal(quants.encode(type_, weights, importance), expected)

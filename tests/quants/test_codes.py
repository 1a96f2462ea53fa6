"""quantize decides, pack only moves bits; and no answer depends on how the work is cut."""

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from tests import distributions, naive_iq

TYPES = quants.supported()
ONE_PASS = tuple(type_ for type_ in TYPES if quants.find(type_).encode is not None)
TERNARY = (GgmlType.Q2_0, GgmlType.TQ1_0, GgmlType.TQ2_0)


def _blocks(type_: GgmlType, count: int) -> np.ndarray:
    """Blocks of random bytes: every one of them is a block, though TQ1_0 writes only one of two that read alike."""
    quant = quants.find(type_)
    raw = np.random.default_rng(3).integers(0, 256, (count, quant.block.itemsize), np.uint8)
    blocks = raw.view(quant.block)[:, 0]
    return quant.pack(quant.unpack(blocks)) if type_ is GgmlType.TQ1_0 else blocks


def _needed_importance(type_: GgmlType) -> np.ndarray | None:
    return distributions.importance("random") if quants.find(type_).needs_importance else None


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_pack_undoes_unpack(type_: GgmlType) -> None:
    quant, blocks = quants.find(type_), _blocks(type_, 100)
    assert quant.pack(quant.unpack(blocks)).tobytes() == blocks.tobytes()


@pytest.mark.parametrize("kind", ["normal", "denormal", "huge", "mostly zero groups"])
@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_unpack_undoes_pack(type_: GgmlType, kind: str) -> None:
    quant = quants.find(type_)
    if kind == "huge" and type_.name in naive_iq.TWINS:
        pytest.skip("the search through a codebook overflows")
    codes = quant.quantize(distributions.weights(kind, 1 << 14), _needed_importance(type_))
    assert quant.unpack(quant.pack(codes)).tobytes() == codes.tobytes()


@pytest.mark.parametrize("costs", ["none", "random"])
@pytest.mark.parametrize("kind", distributions.NAMES)
@pytest.mark.parametrize("type_", ONE_PASS, ids=lambda t: t.name)
def test_one_pass_writes_what_quantize_and_pack_do(type_: GgmlType, kind: str, costs: str) -> None:
    quant, weights = quants.find(type_), distributions.weights(kind, 1 << 16)
    importance = distributions.importance(costs)
    packed = quant.pack(quant.quantize(weights, importance))
    assert quants.encode(type_, weights, importance).tobytes() == packed.tobytes()


@pytest.mark.parametrize("blocks", [1, 31, 32, 33, 63, 97])
@pytest.mark.parametrize("type_", ONE_PASS, ids=lambda t: t.name)
def test_one_pass_takes_any_number_of_blocks(type_: GgmlType, blocks: int) -> None:
    weights = distributions.weights("normal", 128 * 32).reshape(-1, 32)
    whole = quants.encode(type_, weights)
    np.testing.assert_array_equal(quants.encode(type_, weights[:blocks]), whole[:blocks])


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_encode_writes_where_it_is_told_and_nowhere_else(type_: GgmlType) -> None:
    weights, importance = distributions.weights("normal", 1 << 12), _needed_importance(type_)
    expected = quants.encode(type_, weights, importance)
    around = np.full((len(expected) + 2, expected.shape[1]), 0xA5, np.uint8)
    quants.encode(type_, weights, importance, around[1:-1])
    np.testing.assert_array_equal(around[1:-1], expected)
    assert (around[[0, -1]] == 0xA5).all()


@pytest.mark.parametrize("costs", distributions.IMPORTANCES)
@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_rows_quantize_alone_as_among_others(type_: GgmlType, costs: str) -> None:
    weights, importance = distributions.weights("heavy-tailed", 17 * 1024), distributions.importance(costs)
    if importance is None:
        importance = _needed_importance(type_)
    alone = [quants.encode(type_, row[None], importance) for row in weights]
    np.testing.assert_array_equal(quants.encode(type_, weights, importance), np.concatenate(alone))


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_a_block_quantizes_alone_as_among_an_odd_number(type_: GgmlType) -> None:
    weights = distributions.weights("normal", 1 << 14).reshape(-1, 256)[:19]
    importance = np.linspace(0, 1, 256, dtype=np.float32)
    alone = [quants.encode(type_, row[None], importance) for row in weights]
    np.testing.assert_array_equal(quants.encode(type_, weights, importance), np.concatenate(alone))


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_quantize_leaves_its_weights_alone(type_: GgmlType) -> None:
    weights = distributions.weights("normal", 1 << 12)
    before = weights.copy()
    quants.encode(type_, weights, distributions.importance("random"))
    np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_block_size_is_the_table_s(type_: GgmlType) -> None:
    assert quants.find(type_).block.itemsize == BLOCK_SHAPE[type_].nbytes


@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_dequantized_weights_are_near_the_originals(type_: GgmlType) -> None:
    weights = distributions.weights("normal", 1 << 16)
    stored = quants.encode(type_, weights, _needed_importance(type_))
    restored = quants.decode(type_, stored.view(_stored_dtype(type_)))
    bits = np.log2(3) if type_ in TERNARY else 8 * BLOCK_SHAPE[type_].nbytes / BLOCK_SHAPE[type_].weights
    error = np.sqrt(np.mean((restored - weights) ** 2)) / np.sqrt(np.mean(weights**2))
    assert error < 3 * 2.0**-bits + 2.0**-8  # a uniform quantizer's error halves with each bit; bf16 keeps eight


def _stored_dtype(type_: GgmlType) -> type:
    return np.float32 if type_ is GgmlType.F32 else np.uint8

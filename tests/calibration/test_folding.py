"""Scales move from matrices into what comes before them, and every family computes what it did."""

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.folding.folding import (
    LARGEST,
    Consumer,
    Folding,
    ScaleMapping,
    bounded_scales,
    live_channels,
    mappings,
)
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime.family import FAMILIES
from quantize_cli.runtime.transformer import from_model
from tests.calibration.outlying import SAME, relative
from tests.runtime.synthetic import Decoder, tokens, weights, write
from tests.runtime.test_transformer import DECODERS


def opened(folder: Path, decoder: Decoder, type_: GgmlType = GgmlType.F32) -> Model:
    return open_model(write(folder / "model.gguf", decoder, weights(decoder), lambda name: type_))


def folded(model: Model, powers_of_two: bool = False) -> Model:
    """Every mapping of the model scaled by something between 1 / LARGEST and LARGEST."""
    random, folding = np.random.default_rng(3), Folding(model)
    for mapping in (mapping for layer in mappings(model) for mapping in layer):
        exponents = random.uniform(-5, 5, mapping.channels)
        scales = np.exp2(np.rint(exponents) if powers_of_two else exponents).astype(np.float32)
        assert scales.max() <= LARGEST
        folding.add(mapping, scales)
    return folding.model()


def test_every_family_is_tried() -> None:
    assert {decoder.architecture for decoder in DECODERS.values()} == {
        name for name, family in FAMILIES.items() if not family.only_runs
    }


@pytest.mark.parametrize("name", DECODERS)
def test_a_folded_model_computes_what_it_did(name: str, tmp_path: Path) -> None:
    model = opened(tmp_path, DECODERS[name])
    expected = from_model(model).logits(tokens(60))
    found = from_model(folded(model)).logits(tokens(60))
    assert relative(found, expected) < SAME


@pytest.mark.parametrize("name", ["llama with biases, heads wider than the model", "qwen2moe", "phi3", "gpt2"])
def test_scales_that_are_powers_of_two_change_no_bit(name: str, tmp_path: Path) -> None:
    model = opened(tmp_path, DECODERS[name])
    expected = from_model(model).logits(tokens(60))
    assert np.array_equal(expected, from_model(folded(model, powers_of_two=True)).logits(tokens(60)))


@pytest.mark.parametrize("name", ["llama", "phi3", "qwen2moe", "gpt2"])
def test_a_folded_model_keeps_names_shapes_and_order(name: str, tmp_path: Path) -> None:
    model = opened(tmp_path, DECODERS[name], GgmlType.F16)
    found = folded(model)
    assert [(t.name, t.shape) for t in found.tensors] == [(t.name, t.shape) for t in model.tensors]
    assert dataclasses.replace(found, tensors=[]) == dataclasses.replace(model, tensors=[])


@pytest.mark.parametrize("step", [1, 7, 64])
def test_folded_tensors_read_the_same_in_any_chunks(step: int, tmp_path: Path) -> None:
    for tensor in folded(opened(tmp_path, DECODERS["qwen2moe"])).tensors:
        whole = tensor.read(0, tensor.row_count)
        parts = [tensor.read(at, min(at + step, tensor.row_count)) for at in range(0, tensor.row_count, step)]
        assert np.array_equal(whole, np.concatenate(parts))


def names(mapping: ScaleMapping) -> tuple[list[str], list[str]]:
    return [producer.name for producer in mapping.producers], [reader.name for reader in mapping.readers]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama", ["attn_norm", "attn_v", "ffn_norm", "ffn_up"]),
        ("phi3", ["attn_norm", "attn_qkv", "ffn_norm", "ffn_up"]),
        ("gpt2", ["attn_norm", "attn_qkv", "ffn_norm"]),
        ("llama, experts", ["attn_norm", "attn_v", "ffn_norm", *["ffn_up_exps"] * 8]),
        ("qwen2moe", ["attn_norm", "attn_v", "ffn_norm", *["ffn_up_exps"] * 6, "ffn_up_shexp"]),
    ],
)
def test_each_layer_has_its_mappings(name: str, expected: list[str], tmp_path: Path) -> None:
    layer = mappings(opened(tmp_path, DECODERS[name]))[1]
    assert [mapping.producers[0].name for mapping in layer] == [f"blk.1.{producer}.weight" for producer in expected]


def test_all_that_reads_a_norm_is_scaled_with_it(tmp_path: Path) -> None:
    mapping = mappings(opened(tmp_path, DECODERS["qwen2moe"]))[0][2]
    everywhere = ["ffn_gate_inp", "ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp"]
    experts = [f"ffn_{kind}_exps" for _, kind in product(range(6), ("gate", "up"))]
    assert names(mapping) == (["blk.0.ffn_norm.weight"], [f"blk.0.{name}.weight" for name in everywhere + experts])


def test_the_output_is_left_alone(tmp_path: Path) -> None:
    model = opened(tmp_path, DECODERS["llama"])
    producers = [mapping.producers[0].name for layer in mappings(model) for mapping in layer]
    assert all(name.startswith("blk.") for name in producers)


def test_query_heads_share_the_channels_of_their_values() -> None:
    mapping = ScaleMapping(4, (), (Consumer("o", ("o", 0)),), ("o", 0), shared=3, head_width=2)
    columns = mapping.spread(np.array([1, 2, 3, 4]))
    assert columns.tolist() == [1, 2] * 3 + [3, 4] * 3
    assert mapping.largest(np.arange(12)).tolist() == [4, 5, 10, 11]
    assert mapping.mean(np.arange(12)).tolist() == [2, 3, 8, 9]


def test_safe_scales_are_proportional_within_bounds_around_one() -> None:
    wanted = np.array([1.0, 2, 4, 1 / 8])
    assert np.allclose([1, 2, 4, 1 / 8], bounded_scales(wanted * 1000))
    assert np.allclose([1 / LARGEST, LARGEST], bounded_scales(np.array([1e-9, 1e9])))
    assert bounded_scales(np.array([wanted, wanted**2])).shape == (2, 4)


def test_channels_without_magnitude_get_scales_too() -> None:
    assert live_channels(np.array([0.0, 1e-30, 100])).tolist() == [1e-3, 1e-3, 100]
    assert np.array_equal(np.ones(3), bounded_scales(live_channels(np.zeros(3))))


def test_weights_that_are_not_float_are_refused(tmp_path: Path) -> None:
    model = opened(tmp_path, DECODERS["llama"], GgmlType.Q8_0)
    with pytest.raises(InputError, match=r"model\.gguf: tensor 'blk\.0\.attn_q\.weight': already q8_0") as caught:
        folded(model)
    assert caught.value.hint == "scales are folded into the original weights"

"""SmoothQuant's scales are the paper's, and the model computes what it did."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration import smoothquant
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime.transformer import from_model
from tests.calibration.outlying import SAME, outlying, relative
from tests.runtime.synthetic import Decoder, small, tokens

CHUNKS = tokens(120).reshape(3, 40)


def weight(model: Model, name: str) -> np.ndarray:
    tensor = next(tensor for tensor in model.tensors if tensor.name == name)
    return tensor.read(0, tensor.row_count)


def test_scales_are_those_of_the_formula() -> None:
    random = np.random.default_rng(0)
    activations, weights = random.uniform(0.1, 9, (2, 64))
    expected = np.array([x**0.5 / w**0.5 for x, w in zip(activations, weights, strict=True)])
    assert np.allclose(expected / np.exp(np.log(expected).mean()), smoothquant.scales(activations, weights))


def test_the_scales_of_a_norm_are_of_all_it_feeds(tmp_path: Path) -> None:
    model = outlying(tmp_path, Decoder("llama"))
    x = weight(model, "token_embd.weight")[CHUNKS.ravel()]
    normed = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-5) * weight(model, "blk.0.attn_norm.weight")
    read = np.concatenate([weight(model, f"blk.0.attn_{name}.weight") for name in "qkv"])
    expected = smoothquant.scales(np.abs(normed).max(axis=0), np.abs(read).max(axis=0))
    found = smoothquant.fold(model, CHUNKS, {})
    ratios = weight(found, "blk.0.attn_k.weight") / weight(model, "blk.0.attn_k.weight")
    assert np.allclose(np.broadcast_to(expected, ratios.shape), ratios)
    norms = weight(model, "blk.0.attn_norm.weight") / weight(found, "blk.0.attn_norm.weight")
    assert np.allclose(expected, norms[0])


@pytest.mark.parametrize("experts", [0, 4])
def test_the_model_computes_what_it_did(experts: int, tmp_path: Path) -> None:
    model = outlying(tmp_path, Decoder("llama", experts=experts))
    found = smoothquant.fold(model, CHUNKS, {})
    assert not np.array_equal(weight(model, "blk.0.attn_v.weight"), weight(found, "blk.0.attn_v.weight"))
    assert relative(from_model(found).logits(tokens(40)), from_model(model).logits(tokens(40))) < SAME


def test_only_norms_give_their_scales_away(tmp_path: Path) -> None:
    model = outlying(tmp_path, Decoder("llama", experts=4))
    found = smoothquant.fold(model, CHUNKS, {})
    left = [after.name for before, after in zip(model.tensors, found.tensors, strict=True) if before == after]
    kept = ("attn_output", "ffn_down_exps")
    layers = [f"blk.{layer}.{name}.weight" for layer in range(2) for name in kept]
    assert sorted(left) == sorted(["token_embd.weight", "output_norm.weight", "output.weight", *layers])


def test_each_layer_is_reported(tmp_path: Path) -> None:
    told: list[int] = []
    smoothquant.fold(open_model(small(tmp_path)), CHUNKS, {}, told.append)
    assert told == [1, 1]

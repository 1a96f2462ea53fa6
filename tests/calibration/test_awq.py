"""AWQ's scales are the best of those it tries, and the model computes what it did."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration import awq
from quantize_cli.calibration.folding import errors
from quantize_cli.calibration.folding.errors import Rounding
from quantize_cli.calibration.folding.folding import Folding, ScaleMapping, mappings
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.observer import ObservedLayers, Observer
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.quants import decode, encode
from quantize_cli.runtime.transformer import from_model
from tests.calibration.outlying import SAME, outlying, relative
from tests.runtime.synthetic import Decoder, small, tokens

CHUNKS = tokens(400).reshape(10, 40)
CLOSE = 1e-3
"""Relative: errors are summed from float32 products of what is small beside the weights."""


def types(model: Model, type_: GgmlType) -> dict[str, GgmlType]:
    return {tensor.name: type_ for tensor in model.tensors if len(tensor.shape) > 1 and "_inp" not in tensor.name}


def rounding(model: Model, type_: GgmlType) -> Rounding:
    return Rounding(Folding(model), types(model, type_), 2)


def chosen(model: Model, of: Rounding) -> list[tuple[ScaleMapping, np.ndarray]]:
    calibration = ObservedLayers(from_model(model), CHUNKS)
    return [found for layer in mappings(model) for found in awq.search(layer, calibration, of)]


@pytest.mark.parametrize("type_", [GgmlType.Q4_0, GgmlType.IQ4_NL, GgmlType.Q8_0])
def test_no_mapping_errs_more_than_unscaled(type_: GgmlType, tmp_path: Path) -> None:
    model = outlying(tmp_path, Decoder("llama", experts=3))
    of = rounding(model, type_)
    scales, calibration, gains = chosen(model, of), ObservedLayers(from_model(model), CHUNKS), []
    for layer in mappings(model):
        observer = Observer()
        seen = observer.collect(Moments)
        calibration.observe(observer)
        for mapping in layer:
            best = next(best for found, best in scales if found == mapping)
            before, after = of.errors(mapping, np.stack([np.ones_like(best), best]), seen)
            gains.append(after / before)
    assert max(gains) <= 1
    assert min(gains) < 0.95


def test_errors_are_those_of_the_outputs(tmp_path: Path) -> None:
    model = open_model(small(tmp_path))
    mapping = mappings(model)[0][0]
    x = np.random.default_rng(0).normal(0, np.linspace(0.1, 3, 64), (200, 64)).astype(np.float32)
    seen = {mapping.input: Moments(64)}
    seen[mapping.input].add(x)
    scales = np.random.default_rng(1).uniform(0.5, 2, (3, 64)).astype(np.float32)
    found = rounding(model, GgmlType.Q4_0).errors(mapping, scales, seen)
    expected = np.zeros(3)
    for index, columns in enumerate(scales):
        importance = (np.square(x / columns).mean(axis=0)).astype(np.float32)
        for name in "qkv":
            tensor = next(t for t in model.tensors if t.name == f"blk.0.attn_{name}.weight")
            matrix = tensor.read(0, tensor.row_count)
            stored = decode(GgmlType.Q4_0, encode(GgmlType.Q4_0, matrix * columns, importance))
            expected[index] += np.square((x / columns) @ stored.T - x @ matrix.T).sum()
    assert np.abs(found / expected - 1).max() < CLOSE


def test_no_scaling_comes_first_and_powers_of_both_sizes_follow() -> None:
    activations, sizes = np.float32([1 / 4, 1, 4]), np.float32([2, 1, 1 / 2])
    tried = awq.candidates(activations, sizes)
    assert np.array_equal(np.ones(3), tried[0])
    assert np.abs(tried - activations**0.4 / sizes**0.5).max(axis=1).min() < 1e-6


@pytest.mark.parametrize("architecture", ["llama", "qwen2moe", "phi3", "gpt2"])
def test_the_model_computes_what_it_did(architecture: str, tmp_path: Path) -> None:
    fused = architecture in ("phi3", "gpt2")
    decoder = Decoder(architecture, fused=fused, key_value_heads=4 if architecture == "gpt2" else 2,
                      experts=4 if architecture == "qwen2moe" else 0, expert_feed_forward=64,
                      metadata={"expert_feed_forward_length": 64} if architecture == "qwen2moe" else {})  # fmt: skip
    model = outlying(tmp_path, decoder)
    found = awq.fold(model, CHUNKS, types(model, GgmlType.Q4_0))
    assert any(tensor.stored_at is None for tensor in found.tensors)
    assert relative(from_model(found).logits(tokens(40)), from_model(model).logits(tokens(40))) < SAME


def test_matrices_that_are_not_rounded_are_not_scaled(tmp_path: Path) -> None:
    model = outlying(tmp_path, Decoder("llama"))
    found = awq.fold(model, CHUNKS, {"output.weight": GgmlType.F16})
    assert found.tensors == model.tensors


def test_moments_that_do_not_fit_together_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = outlying(tmp_path, Decoder("llama", experts=3))
    together = chosen(model, rounding(model, GgmlType.Q4_0))
    monkeypatch.setattr(errors, "_MOMENTS_NBYTES", 96 * 96 * 8)
    of = rounding(model, GgmlType.Q4_0)
    assert [len(of.turns(layer)) for layer in mappings(model)] == [6, 6]
    for (mapping, scales), (same_mapping, same_scales) in zip(together, chosen(model, of), strict=True):
        assert mapping == same_mapping
        assert np.array_equal(scales, same_scales)


def test_each_layer_is_reported(tmp_path: Path) -> None:
    told: list[int] = []
    awq.fold(open_model(small(tmp_path)), CHUNKS, {}, told.append)
    assert told == [1, 1]

"""A watched layer shows what its matrices are given, and does not multiply what nobody wants."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.model.source import open_model
from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.layer_runner import LayerRunner
from quantize_cli.runtime.observed_layer import Chosen, input_of, observed_layer, observed_shapes, observed_transformer
from quantize_cli.runtime.substitution import tensor_names
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import tokens, weights, write
from tests.runtime.test_transformer import DECODERS
from tests.sources import Made

CHUNKS = tokens(40).reshape(2, 20)
EVERY = ["llama", "qwen2moe", "phi3, long factors", "gpt2"]
Seen = dict[tuple[str, int], np.ndarray]


def everything(name: str) -> bool:
    return True


def transformer_of(name: str, folder: Path) -> Transformer:
    decoder = DECODERS[name]
    return from_model(open_model(write(folder / "model.gguf", decoder, weights(decoder))), resident=False)


def shown(
    transformer: Transformer, chosen: Chosen = everything, multiplied: Chosen = everything
) -> tuple[Seen, np.ndarray]:
    """What the first layer shows, and the stream behind it."""
    seen: Seen = {}

    def watch(name: str, number: int, x: np.ndarray) -> None:
        assert (name, number) not in seen
        seen[name, number] = x.copy()

    runner = LayerRunner(transformer, CHUNKS.shape[1])
    stream = runner.embed(CHUNKS)
    runner.record(observed_layer(transformer.layers[0], watch, chosen, multiplied)).run(stream)
    return seen, stream


@pytest.mark.parametrize("name", EVERY)
def test_every_input_of_a_layer_is_shown_once_and_changes_nothing(name: str, tmp_path: Path) -> None:
    transformer = transformer_of(name, tmp_path)
    seen, stream = shown(transformer)
    plain = LayerRunner(transformer, CHUNKS.shape[1])
    expected = plain.embed(CHUNKS)
    plain.record(transformer.layers[0]).run(expected)
    assert np.array_equal(expected, stream)
    inputs = [input_of(name) for name in {key[0] for key in seen}]
    assert sorted(inputs) == sorted({input_of(name) for name in tensor_names(transformer.layers[0])})


@pytest.mark.parametrize("name", EVERY)
def test_only_what_is_wanted_is_shown(name: str, tmp_path: Path) -> None:
    transformer = transformer_of(name, tmp_path)
    whole, _ = shown(transformer)
    some, _ = shown(transformer, lambda tensor: "ffn_down" in tensor)
    assert {key for key in whole if "ffn_down" in key[0]} == set(some)
    assert all(np.array_equal(whole[key], some[key]) for key in some)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_not_multiplied_gives_zeros(name: str, tmp_path: Path) -> None:
    """Only matrices: gpt2 adds its biases still."""
    transformer = transformer_of(name, tmp_path)
    whole, _ = shown(transformer)
    seen, stream = shown(transformer, multiplied=lambda tensor: "attn" in tensor and "output" not in tensor)
    for key in whole:
        if "attn" in key[0]:
            assert np.array_equal(whole[key], seen[key])
    entered = LayerRunner(transformer, CHUNKS.shape[1]).embed(CHUNKS)
    added = stream - entered
    assert np.abs(added - added[0]).max() < (1e-6 if name == "gpt2" else 1e-30)  # the same of every token


@pytest.mark.parametrize("name", EVERY)
def test_what_is_not_multiplied_is_not_read(name: str, tmp_path: Path) -> None:
    decoder = DECODERS[name]
    model = open_model(write(tmp_path / "model.gguf", decoder, weights(decoder)))

    def refuse(start: int, stop: int) -> np.ndarray:
        raise AssertionError("read")

    def guarded(tensor: Tensor) -> Tensor:
        behind = "blk.0.ffn" in tensor.name and tensor.name.endswith("weight") and "norm" not in tensor.name
        return replace(tensor, source=Made(refuse)) if behind else tensor

    transformer = from_model(replace(model, tensors=[guarded(tensor) for tensor in model.tensors]), resident=False)
    seen, _ = shown(transformer, lambda tensor: "ffn" in tensor, lambda tensor: "ffn" not in tensor)
    assert seen


def test_experts_show_their_own_numbers(tmp_path: Path) -> None:
    transformer = transformer_of("qwen2moe", tmp_path)
    seen, _ = shown(transformer)
    counts = [len(x) for (name, _), x in seen.items() if name == "blk.0.ffn_gate_exps.weight"]
    assert sum(counts) == 2 * CHUNKS.size
    assert observed_shapes(transformer)["blk.0.ffn_gate_exps.weight"] == (6, 64)


def test_a_watched_model_computes_what_it_did(tmp_path: Path) -> None:
    transformer = transformer_of("llama", tmp_path)
    names: list[str] = []
    found = observed_transformer(transformer, lambda name, number, x: names.append(name)).logits(CHUNKS)
    assert np.array_equal(transformer.logits(CHUNKS), found)
    assert "output.weight" in names


@pytest.mark.parametrize(
    "names",
    [
        ("blk.3.attn_q.weight", "blk.3.attn_k.weight", "blk.3.attn_v.weight", "blk.3.attn_qkv.weight"),
        ("blk.3.ffn_gate.weight", "blk.3.ffn_up.weight"),
        ("blk.3.ffn_gate_exps.weight", "blk.3.ffn_up_exps.weight"),
        ("blk.3.ffn_gate_shexp.weight", "blk.3.ffn_up_shexp.weight"),
    ],
)
def test_matrices_of_a_layer_that_read_the_same_are_known_by_one_name(names: tuple[str, ...]) -> None:
    assert len({input_of(name) for name in names}) == 1


def test_matrices_that_read_something_else_are_known_by_another() -> None:
    names = [
        "blk.3.attn_q.weight", "blk.4.attn_q.weight", "blk.3.attn_output.weight", "blk.3.ffn_gate.weight",
        "blk.3.ffn_gate_exps.weight", "blk.3.ffn_gate_shexp.weight", "blk.3.ffn_down.weight",
        "blk.3.ffn_down_exps.weight", "output.weight",
    ]  # fmt: skip
    assert len({input_of(name) for name in names}) == len(names)

"""What the matrices of a stage are given, in the float model and in the one that it becomes, is summed up as it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.calibration.statistics.layer_inputs import StageInputs
from quantize_cli.model.source import open_model
from quantize_cli.runtime.layer_runner import LayerRunner
from quantize_cli.runtime.observed_layer import input_of, observed_layer
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import Decoder, tokens, weights, write

CLOSE = 1e-2
"""Of the largest: activations are rounded to bfloat16."""
CONTEXT = 20
CHUNKS = tokens(4 * CONTEXT).reshape(4, CONTEXT)
DECODER = Decoder("llama", layers=1)
EXPERTS = replace(DECODER, experts=5)
QUERIES = ("blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight")
Seen = dict[tuple[str, int], np.ndarray]


def models(folder: Path, decoder: Decoder) -> tuple[Transformer, Transformer]:
    """A model, and one that is a little off; of five experts the last is sent no token."""
    made, found = weights(decoder), []
    if decoder.experts:
        router = np.random.default_rng(2).normal(size=decoder.width)
        made["blk.0.ffn_gate_inp.weight"] = np.outer([1, -1, 0.5, -0.5, 0], router).astype(np.float32)
    for number in range(2):
        moved = {name: values * np.float32(1 + 0.1 * number * ("norm" in name)) for name, values in made.items()}
        moved = {name: values + np.float32(0.01 * number * (values.ndim > 1)) for name, values in moved.items()}
        moved["token_embd.weight"] = made["token_embd.weight"]
        if decoder.experts:
            moved["blk.0.ffn_gate_inp.weight"] = made["blk.0.ffn_gate_inp.weight"]
        found.append(from_model(open_model(write(folder / f"{number}.gguf", decoder, moved))))
    return found[0], found[1]


def collected(pair: Sequence[Transformer], names: Sequence[str], multiplies: bool = True) -> StageInputs:
    """Two sequences at once."""
    runner, found = LayerRunner(pair[0], CONTEXT), StageInputs()
    layers = [
        runner.record(observed_layer(transformer.layers[0], observer, names.__contains__, lambda name: multiplies))
        for transformer, observer in zip(pair, (found.original, found.quantized), strict=True)
    ]
    for part in np.split(runner.embed(CHUNKS), 2):
        for layer in layers:
            layer.run(part.copy())
        found.count_in()
    return found


def seen(transformer: Transformer) -> Seen:
    """What each matrix of the layer is given by all tokens at once."""
    found: Seen = {}
    layer = observed_layer(
        transformer.layers[0], lambda name, number, x: found.update({(input_of(name), number): x.copy()})
    )
    runner = LayerRunner(transformer, CONTEXT)
    runner.record(layer).run(runner.embed(CHUNKS))
    return found


def assert_are(expected: np.ndarray, found: np.ndarray) -> None:
    """Up to a scale."""
    expected, found = expected / np.linalg.norm(expected), found / np.linalg.norm(found)
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()


def assert_scaled(inputs: Inputs) -> None:
    assert np.isclose(inputs.moments.diagonal().mean(), 1)


@pytest.mark.parametrize("name", [*QUERIES, "blk.0.attn_output.weight", "blk.0.ffn_up.weight", "blk.0.ffn_down.weight"])
def test_moments_are_those_of_the_quantized_models_inputs(name: str, tmp_path: Path) -> None:
    pair = models(tmp_path, DECODER)
    x, f = (seen(transformer)[input_of(name), 0].astype(float) for transformer in reversed(pair))
    (inputs,) = collected(pair, [name]).inputs(name, 1, x.shape[1])
    assert inputs.shift is not None
    assert inputs.residual is None
    assert_scaled(inputs)
    assert_are(x.T @ x, inputs.moments)
    assert np.allclose((f - x).T @ x * np.trace(inputs.moments) / np.square(x).sum(), inputs.shift, atol=2e-3)


def test_an_input_that_is_shared_is_worked_out_once(tmp_path: Path) -> None:
    found = collected(models(tmp_path, DECODER), QUERIES)
    first, *others = (next(found.inputs(name, 1, 64)) for name in QUERIES)
    assert all(other is first for other in others)


def test_what_is_shown_does_not_depend_on_what_is_left_out(tmp_path: Path) -> None:
    pair = models(tmp_path, DECODER)
    whole, cut = collected(pair, QUERIES), collected(pair, QUERIES, multiplies=False)
    assert np.array_equal(next(whole.inputs(QUERIES[0], 1, 64)).moments, next(cut.inputs(QUERIES[0], 1, 64)).moments)


@pytest.mark.parametrize("name", ["blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"])
def test_an_expert_is_lent_a_little_of_what_all_see(name: str, tmp_path: Path) -> None:
    pair = models(tmp_path, EXPERTS)
    given = {key[1]: x.astype(float) for key, x in seen(pair[1]).items() if key[0] == input_of(name)}
    assert 4 not in given
    columns = next(iter(given.values())).shape[1]
    found = list(collected(pair, [name]).inputs(name, 5, columns))
    of_all = sum(x.T @ x for x in given.values()) / sum(len(x) for x in given.values())
    for number, inputs in enumerate(found):
        own = given[number].T @ given[number] if number in given else 0
        assert (inputs.shift, inputs.residual) == (None, None)  # experts see other tokens in either model
        assert_scaled(inputs)
        assert_are(own + 0.25 * columns * of_all, inputs.moments)


def test_experts_of_which_none_was_reached_take_all_columns_alike() -> None:
    for inputs in StageInputs().inputs("blk.0.ffn_up_exps.weight", 3, 8):
        assert np.array_equal(np.eye(8), inputs.moments)

"""Layer by layer is the same as all at once, however many sequences run together."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime import layer_runner
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import LayerRunner
from quantize_cli.runtime.observed_layer import observed_layer
from quantize_cli.runtime.recorder import Recorder
from quantize_cli.runtime.transformer import Recording, Transformer, from_model
from tests.runtime.synthetic import Decoder, tokens, weights, write
from tests.runtime.test_transformer import DECODERS

CONTEXT = 24
CHUNKS = tokens(5 * CONTEXT).reshape(5, CONTEXT)


def walked(transformer: Transformer) -> np.ndarray:
    """Hidden states (sequences, context, width) f32."""
    runner = LayerRunner(transformer, CONTEXT)
    stream = runner.embed(CHUNKS)
    for layer in transformer.layers:
        runner.record(layer).run_all(stream)
    runner.finish(stream)
    return stream.reshape(*CHUNKS.shape, -1)


@pytest.mark.parametrize("name", ["llama", "qwen2moe", "qwen3", "gemma2", "gemma3", "phi3, long factors", "gpt2"])
def test_layers_one_by_one_give_what_all_at_once_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sequences at once, so that the last part has one."""
    monkeypatch.setattr(layer_runner, "_TOKENS", 2 * CONTEXT + 1)
    decoder = DECODERS[name]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    expected = transformer.hidden(CHUNKS)
    assert np.abs(walked(transformer) - expected).max() <= 1e-5 * np.abs(expected).max()  # sums in another order


def runner_of_llama(folder: Path) -> LayerRunner:
    decoder = DECODERS["llama"]
    return LayerRunner(from_model(open_model(write(folder / "model.gguf", decoder, weights(decoder)))), CONTEXT)


def test_several_layers_or_halves_of_layers_recorded_together_are_the_same(tmp_path: Path) -> None:
    runner = runner_of_llama(tmp_path)
    layers, expected = runner.transformer.layers, runner.embed(CHUNKS)
    together, halves = expected.copy(), expected.copy()
    for layer in layers:
        runner.record(layer).run(expected)
        for half in (Transformer.record_attention, Transformer.record_feed_forward):
            runner.record(layer, record=half).run(halves)
    runner.record(*layers).run(together)
    assert np.array_equal(expected, together)
    assert np.array_equal(expected, halves)


def test_a_recording_remembers_nothing_of_what_passed(tmp_path: Path) -> None:
    runner = runner_of_llama(tmp_path)
    recorded, first = runner.record(runner.transformer.layers[0]), runner.embed(CHUNKS[:1])
    again = first.copy()
    recorded.run(first)
    recorded.run(runner.embed(CHUNKS[1:2]))
    recorded.run(again)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("room", "starts"), [(1, [0, 24, 48, 72, 96]), (60, [0, 48, 96]), (4096, [0])])
def test_parts_are_whole_sequences(
    room: int, starts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_runner, "_TOKENS", room)
    rows = np.arange(CHUNKS.size)
    parts = list(runner_of_llama(tmp_path).parts(rows, -rows))
    assert [part[0] for part, _ in parts] == starts
    assert all(np.array_equal(part, -other) for part, other in parts)


WIDE = Decoder("llama", width=128, head_width=32, feed_forward=128)
RECORDED = {
    "floats": (DECODERS["llama"], GgmlType.F32),
    "experts": (DECODERS["qwen2moe"], GgmlType.F32),
    "blocks": (WIDE, GgmlType.Q4_0),
    "no product of its own": (WIDE, GgmlType.Q1_0),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_gone_with_its_last_name(name: str, tmp_path: Path) -> None:
    """It does not refer to itself: recordings hold hundreds of megabytes."""
    decoder, type_ = RECORDED[name]
    path = write(tmp_path / "model.gguf", decoder, weights(decoder), lambda name: type_)
    transformer = from_model(open_model(path))
    runner, seen = LayerRunner(transformer, CONTEXT), list[weakref.ref[Recorder]]()

    def record(transformer: Transformer, recording: Recording, layer: Layer) -> None:
        seen.append(weakref.ref(recording.recorder))
        transformer.record_layer(recording, layer)

    layer = observed_layer(
        transformer.layers[0], lambda name, number, x: None, multiplied=lambda name: "attn_k" not in name
    )
    gc.disable()
    try:
        runner.record(layer, record=record).run(runner.embed(CHUNKS[:1]))
        assert [recorder() for recorder in seen] == [None]
    finally:
        gc.enable()

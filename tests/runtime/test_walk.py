"""Layer by layer is the same as all at once, however many sequences run together."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.model.source import open_model
from quantize_cli.runtime import layer_runner as walk_module
from quantize_cli.runtime.layer_runner import Walk
from quantize_cli.runtime.recorder import applied
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import tokens, weights, write
from tests.runtime.test_transformer import DECODERS

CONTEXT = 24
CHUNKS = tokens(5 * CONTEXT).reshape(5, CONTEXT)


def walked(transformer: Transformer) -> np.ndarray:
    """Hidden states (sequences, context, width) f32."""
    walk = Walk(transformer, CONTEXT)
    stream = walk.embed(CHUNKS)
    for layer in transformer.layers:
        for _, part in walk.parts(stream):
            walk.through(layer, len(part) // CONTEXT).run(part)
    return applied(transformer.norm, stream, transformer.threads).reshape(*CHUNKS.shape, -1)


@pytest.mark.parametrize("name", ["llama", "qwen2moe", "qwen3", "gemma2", "gemma3", "phi3, long factors", "gpt2"])
def test_layers_one_by_one_give_what_all_at_once_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sequences at once, so that the last part has one."""
    monkeypatch.setattr(walk_module, "_TOKENS", 2 * CONTEXT + 1)
    decoder = DECODERS[name]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    expected = transformer.hidden(CHUNKS)
    assert np.abs(walked(transformer) - expected).max() <= 1e-5 * np.abs(expected).max()  # sums in another order


def test_several_layers_recorded_together_are_the_same(tmp_path: Path) -> None:
    decoder = DECODERS["llama"]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    walk = Walk(transformer, CONTEXT)
    apart = walk.embed(CHUNKS)
    together = apart.copy()
    for layer in transformer.layers:
        walk.through(layer, len(CHUNKS)).run(apart)
    walk.through_all(transformer.layers, len(CHUNKS)).run(together)
    assert np.array_equal(apart, together)


def test_a_passage_remembers_nothing_of_what_passed(tmp_path: Path) -> None:
    decoder = DECODERS["llama"]
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    walk = Walk(transformer, CONTEXT)
    passage, first = walk.through(transformer.layers[0], 1), walk.embed(CHUNKS[:1])
    again = first.copy()
    passage.run(first)
    passage.run(walk.embed(CHUNKS[1:2]))
    passage.run(again)
    assert np.array_equal(first, again)


@pytest.mark.parametrize(("room", "starts"), [(1, [0, 24, 48, 72, 96]), (60, [0, 48, 96]), (4096, [0])])
def test_parts_are_whole_sequences(
    room: int, starts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, "_TOKENS", room)
    decoder = DECODERS["llama"]
    walk = Walk(from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder)))), CONTEXT)
    assert [start for start, _ in walk.parts(np.empty((CHUNKS.size, 1)))] == starts

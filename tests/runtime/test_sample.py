"""Greedy text is llama.cpp's, token for token."""

from pathlib import Path

import numpy as np
import pytest

from formats.ggml import GgmlType
from quantize_cli.runtime.sample import generate
from quantize_cli.runtime.transformer import from_model
from quantize_cli.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.runtime.synthetic import Decoder, rewrite, tokens, weights, write

TINY_LLAMA = Path(__file__).resolve().parents[2] / "examples" / "tiny-llama"
COUNT = 64


def continued(reference: oracle.Model, prompt: list[int], count: int) -> list[int]:
    """What llama.cpp's logits say comes next, over and over."""
    text = list(prompt)
    for _ in range(count):
        text.append(int(reference.logits(np.array(text))[-1].argmax()))
    return text[len(prompt) :]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gpt2"])
def test_greedy_text_is_that_of_llama_cpp(architecture: str, tmp_path: Path) -> None:
    decoder = Decoder(architecture, key_value_heads=4, fused=architecture == "gpt2")
    path = write(tmp_path / "model.gguf", decoder, weights(decoder))
    prompt = tokens(5).tolist()
    expected = continued(oracle.Model(path, exact=True), prompt, COUNT)
    assert expected == list(generate(from_model(open_model(path)), np.array(prompt), COUNT))


def test_the_shipped_model_tells_the_story_llama_cpp_tells(tmp_path: Path) -> None:
    model = open_model(TINY_LLAMA)
    prompt = load_tokenizer(model.metadata).encode("Once upon a time")
    path = rewrite(model, tmp_path / "model.gguf", GgmlType.F32)
    expected = continued(oracle.Model(path, exact=True), prompt, 100)
    assert expected == list(generate(from_model(model), np.array(prompt), 100))


def test_generation_ends_before_a_stop_token(tmp_path: Path) -> None:
    transformer = from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), weights(Decoder("llama")))))
    text = list(generate(transformer, tokens(5), 20))
    stop = text[10]
    assert list(generate(transformer, tokens(5), 20, stop_ids={stop})) == text[: text.index(stop)]


def test_another_choice_makes_another_text(tmp_path: Path) -> None:
    transformer = from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), weights(Decoder("llama")))))
    assert list(generate(transformer, tokens(5), 3, choose=lambda logits: 7)) == [7, 7, 7]

"""Greedy text is llama.cpp's, token for token."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.runtime import generation
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.generation import GeneratedText, generate
from quantize_cli.runtime.transformer import Transformer, from_model
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


@pytest.mark.parametrize(
    "decoder",
    [
        Decoder("llama", key_value_heads=4),
        Decoder("llama", experts=8),
        Decoder("qwen2"),
        Decoder("qwen2moe", experts=8),
        Decoder("qwen3"),
        Decoder("gemma3", layers=6, tied=True, metadata={"attention.sliding_window": 8}),
        Decoder("phi3", fused=True),
        Decoder("gpt2", key_value_heads=4, fused=True),
    ],
    ids=lambda decoder: f"{decoder.architecture}, {decoder.experts} experts",
)
def test_greedy_text_is_that_of_llama_cpp(decoder: Decoder, tmp_path: Path) -> None:
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


@pytest.fixture
def transformer(tmp_path: Path) -> Transformer:
    return from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), weights(Decoder("llama")))))


def test_a_prompt_read_in_parts_is_the_same_prompt(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(generate(transformer, tokens(40), 20))
    monkeypatch.setattr(generation, "_PART", 7)
    assert list(generate(transformer, tokens(40), 20)) == whole


def reads(text: GeneratedText, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each call to the transformer reads, from now on."""
    counts: list[int] = []
    predict = Transformer.predict

    def counted(self: Transformer, part: np.ndarray, cache: Cache) -> np.ndarray:
        counts.append(len(part))
        return predict(self, part, cache)

    monkeypatch.setattr(Transformer, "predict", counted)
    return counts


def test_only_what_is_new_is_read_again(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    text, prompt = GeneratedText(transformer, 100), tokens(30).tolist()
    made = list(text.continued(prompt, 5))
    longer = [*prompt, *made, 1, 2, 3]
    expected = list(generate(transformer, np.array(longer), 5))
    counts = reads(text, monkeypatch)
    assert list(text.continued(longer, 5)) == expected
    # The last token made was never read, and three are new.
    assert counts == [4, 1, 1, 1, 1]


def test_a_text_that_differs_early_is_read_from_there(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, prompt = GeneratedText(transformer, 100), tokens(30).tolist()
    list(text.continued(prompt, 5))
    other = [*prompt[:10], 1 - prompt[10] % 2, *prompt[11:]]
    expected = list(generate(transformer, np.array(other), 5))
    counts = reads(text, monkeypatch)
    assert list(text.continued(other, 5)) == expected
    assert counts[0] == 20


def test_an_interrupted_text_can_be_continued(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    text, prompt = GeneratedText(transformer, 100), tokens(30).tolist()
    expected = list(generate(transformer, np.array(prompt), 5))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Transformer, "predict", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(text.continued(prompt, 5))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Cache, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(text.continued([*prompt, 5, 6], 5))
    assert list(text.continued(prompt, 5)) == expected


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_text_ends_where_its_room_ends(transformer: Transformer) -> None:
    assert len(list(GeneratedText(transformer, 12).continued(tokens(10).tolist(), 50))) == 2


def test_4096_positions_take_no_more_than_the_cache_and_a_block(tmp_path: Path) -> None:
    decoder = Decoder("llama", context=4096)
    transformer = from_model(open_model(write(tmp_path / "model.gguf", decoder, weights(decoder))))
    text = GeneratedText(transformer, 4096)
    list(text.continued(tokens(600).tolist(), 1))
    tracemalloc.start()
    list(text.continued(tokens(4090).tolist(), 6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A whole square of scores would be 4 x 64 MiB.
    assert peak < 32 << 20


def test_another_choice_makes_another_text(tmp_path: Path) -> None:
    transformer = from_model(open_model(write(tmp_path / "model.gguf", Decoder("llama"), weights(Decoder("llama")))))
    assert list(generate(transformer, tokens(5), 3, choose=lambda logits: 7)) == [7, 7, 7]

"""Bytes a vocabulary lacks, and bytes that are no text, become llama.cpp's tokens."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantize_cli.formats.gguf.layout import ValueType, array, text
from quantize_cli.model.source import Model, open_model
from quantize_cli.tokenizers import Tokenizer, load_tokenizer
from tests import checkpoints, oracle, vocabularies
from tests.golden.converter.variants import VARIANTS
from tests.tokenizers.converted import convert, write

WORDS = ("he", "llo", " the", "he ran", "a", "in", " ", "\n", "12", "don't", "é", "日本", "🚀", "\x04", "\x06", "!")
LACKED = "ehtĠĄéĆĈ"
"""Letters of bytes: of frequent ones, which merges join, and of rare ones."""
BEYOND_UNICODE = re.compile(rb"\xf4[\x90-\xbf][\x80-\xbf]{2}|[\xf5-\xf7][\x80-\xbf]{3}")
"""What llama.cpp ends itself at."""


def without(model: Model, texts: set[str]) -> Model:
    """The model with these texts no longer in its vocabulary, though merges name them."""
    tokens = [f"<gone{i}>" if t in texts else t for i, t in enumerate(model.metadata["tokenizer.ggml.tokens"].data)]
    changed = {"tokenizer.ggml.tokens": array(ValueType.STRING, tokens)}
    return Model(model.path, model.architecture, {**model.metadata, **changed}, model.tensors)


def lines(count: int) -> Iterator[bytes]:
    draw = random.Random(0)
    for _ in range(count):
        yield "".join(draw.choice(WORDS) for _ in range(draw.randint(1, 9))).encode()


def no_text(count: int) -> Iterator[bytes]:
    draw = random.Random(0)
    often = b"\xed\xa0\x80\xc0\xe2\x96\x81\xf0\xf4\x8f\xbf he<s>"
    for _ in range(count):
        raw = bytes(draw.choice((draw.choice(often), draw.randrange(256))) for _ in range(draw.randint(1, 12)))
        if not BEYOND_UNICODE.search(raw):
            yield raw


def assert_same(engine: oracle.Model, tokenizer: Tokenizer, raw: bytes) -> None:
    for special in (False, True):
        expected = engine.tokenize(raw, special, special)
        given = raw.decode(errors="surrogateescape")
        assert (raw, expected) == (raw, tokenizer.encode(given, special, special))


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "llama-bpe"])
@pytest.mark.parametrize("lacked", ["letters", "what merges give", "both"])
def test_a_vocabulary_that_lacks_bytes_gives_the_engines_tokens(name: str, lacked: str, tmp_path: Path) -> None:
    oracle.library()
    products = {merge.replace(" ", "") for merge in map("".join, vocabularies.merges()[1::3])}
    gone = (set() if lacked == "what merges give" else set(LACKED)) | (set() if lacked == "letters" else products)
    model = open_model(checkpoints.build("llama", tmp_path / "from", tokenizer=name))
    changed = write(without(model, gone), tmp_path / "m.gguf")
    engine, tokenizer = oracle.Model(tmp_path / "m.gguf", context=64), load_tokenizer(changed.metadata)
    for raw in lines(800):
        assert_same(engine, tokenizer, raw)


@pytest.mark.parametrize("name", ["llama", "llama-byte-fallback", "llama-3", "gpt2"])
def test_bytes_that_are_no_text_give_the_engines_tokens(name: str, tmp_path: Path) -> None:
    oracle.library()
    model = convert(VARIANTS[name].build(tmp_path), tmp_path / "m.gguf")
    engine, tokenizer = oracle.Model(tmp_path / "m.gguf", context=64), load_tokenizer(model.metadata)
    for raw in no_text(1000):
        assert_same(engine, tokenizer, raw)


def byte_level(tokens: list[str], merges: list[str], pre: str = "gpt-2") -> Tokenizer:
    return load_tokenizer({
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.pre": text(pre),
        "tokenizer.ggml.tokens": array(ValueType.STRING, tokens),
        "tokenizer.ggml.merges": array(ValueType.STRING, merges),
    })  # fmt: skip


def test_nothing_merges_across_a_byte_without_a_token() -> None:
    assert byte_level(["a", "b", "ab"], ["a b"]).encode("a\x04b") == [0, 1]
    assert byte_level(["a", "b", "ab"], ["a b"]).encode("ab") == [2]


def test_what_merges_to_no_token_is_spelled_by_its_letters() -> None:
    assert byte_level(["a", "b", "c", "Ġ"], ["a b", "Ġ c"]).encode("ab c") == [0, 1, 2]


def test_of_merges_stated_twice_the_first_counts() -> None:
    assert byte_level(["a", "b", "c", "ab", "bc"], ["a b", "b c", "a b"]).encode("abc") == [3, 2]


def test_a_whole_token_goes_before_merges_only_if_it_is_one() -> None:
    tokens = ["a", "b", "c", "bc"]
    assert byte_level(tokens, ["b c", "a b", "ab c"], "llama-bpe").encode("abc", add_special=False) == [0, 3]
    assert byte_level([*tokens, "abc"], ["b c"], "llama-bpe").encode("abc", add_special=False) == [4]

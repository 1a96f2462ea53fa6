"""Tokens equal llama.cpp's, text for text, with and without markers read out of the text."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from quantize_cli.tokenizers import Tokenizer, load_tokenizer
from tests import oracle
from tests.golden.converter.make_golden import SHARED
from tests.golden.converter.variants import VARIANTS
from tests.tokenizers.converted import convert

MADE_UP = (
    "llama",
    "llama-byte-fallback",
    "llama-added-tokens",
    "llama-3",
    "llama-smollm",
    "mistral-tekken",
    "qwen2",
    "gpt2",
    "gpt2-old",
)
SPACED = ("llama", "llama-byte-fallback", "llama-added-tokens")
ATOMS = (
    *("hello", " world", "the", "The", " THE", "iPhone", "McDonald", " x", "'s", "'S", "'RE", "don't", "we'll"),
    *("1", "12", "123", "1234", " 12345", "3.14", "½", "²", "Ⅷ", "é", "e\u0301", "ñ", "ß", "İ", "naïve"),
    *("日本語", "中文字符", "한국어", "สวัสดี", "नमस्ते", "العربية", "🚀", "👨‍👩‍👧", "🏳️‍🌈", "\u200d", "\u00a0", "\u3000"),
    *("\n", "\n\n", "\r\n", "\t", " ", "  ", "        ", "\u2028", "\x00", "\x01", "\x7f", "\x85", "\u00ad"),
    *("!", "?!", "...", "----", "/*", "//", "\\n", "{", "}", "()", "[i]", "_", "__init__", "a_b", "def f(x):"),
    *("<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<0x0A>", "<tool>"),
    *("▁", "▁▁", "Ġ", "Ċ", "▁the", " ▁", "spaced out", "<|user|>", " note", "Turning", "Hole Milling", "<EOS>"),
)


def texts(count: int = 400) -> Iterator[str]:
    yield from ("", *ATOMS)
    draw = random.Random(0)
    for _ in range(count):
        yield "".join(draw.choice(ATOMS) for _ in range(draw.randint(2, 14)))
    for _ in range(count // 4):
        yield " " * draw.randint(1, 40) + draw.choice(("a", "\n", "-----", "\t")) * draw.randint(0, 5) + " " * 3
        yield "".join(chr(draw.choice((draw.randint(1, 0xD7FF), draw.randint(0xE000, 0x1FFFF)))) for _ in range(6))


def both(checkpoint: Path, folder: Path) -> tuple[oracle.Model, Tokenizer]:
    oracle.library()
    model = convert(checkpoint, folder / "model.gguf")
    return oracle.Model(folder / "model.gguf", context=64), load_tokenizer(model.metadata)


def assert_same(engine: oracle.Model, tokenizer: Tokenizer) -> None:
    for text in texts():
        for add_special, parse_special in ((True, False), (False, True)):
            expected = engine.tokenize(text, add_special, parse_special)
            assert (text, expected) == (text, tokenizer.encode(text, add_special, parse_special))


@pytest.mark.parametrize("name", MADE_UP)
def test_tokens_are_the_engines(name: str, tmp_path: Path) -> None:
    engine, tokenizer = both(VARIANTS[name].build(tmp_path), tmp_path)
    assert_same(engine, tokenizer)
    assert engine.bos == (tokenizer.bos_id if tokenizer.adds_bos else None)


@pytest.mark.parametrize("name", ["ours-llama-3m", "stories260K", "capp-gpt2"])
def test_tokens_of_real_models_are_the_engines(name: str, tmp_path: Path) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not in the project's shared folder, or there is none")
    engine, tokenizer = both((SHARED / name).resolve(), tmp_path)
    assert_same(engine, tokenizer)
    for path in sorted((SHARED.parent / "text").iterdir()):
        text = path.read_text(errors="ignore")[:50_000]
        assert engine.tokenize(text) == tokenizer.encode(text)


@pytest.mark.parametrize("name", SPACED)
def test_decoded_text_is_the_engines(name: str, tmp_path: Path) -> None:
    engine, tokenizer = both(VARIANTS[name].build(tmp_path), tmp_path)
    for text in texts(100):
        ids = tokenizer.encode(text, add_special=False)
        assert engine.detokenize(ids, unparse_special=False).decode(errors="replace") == tokenizer.decode(ids)


@pytest.mark.parametrize("name", MADE_UP)
def test_decoding_gives_the_text_back(name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(convert(VARIANTS[name].build(tmp_path), tmp_path / "m.gguf").metadata)
    for text in texts(100):
        if "▁" not in text:
            # A letter that stands for a space is read as one, as in every engine.
            assert text == tokenizer.decode(tokenizer.encode(text))

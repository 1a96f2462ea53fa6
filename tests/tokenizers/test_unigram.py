"""Unigram tokens of a file are those of llama.cpp for any text, and of the checkpoint for ordinary ones."""

import json
import random
from pathlib import Path

import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import ValueType, array, text
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.golden.families.variants import build
from tests.tokenizers.converted import write

_LETTERS = [
    *map(chr, range(32, 127)), *"éüßñ人가一Ａａ½·…\t\n\xa0\u3000e\u0301İ\x01", "the ", "  ", "▁", "<s>", "<unk>",
    "number", "and ",
]  # fmt: skip


def test_any_text_has_the_tokens_of_llama_cpp(tmp_path: Path) -> None:
    model = write(open_model(build("xlm_roberta", tmp_path / "m")), tmp_path / "model.gguf")
    tokenizer, engine, chance = load_tokenizer(model.metadata), oracle.Model(tmp_path / "model.gguf"), random.Random(0)
    for _ in range(2000):
        drawn = "".join(chance.choices(_LETTERS, k=chance.randrange(24)))
        special = chance.random() < 0.5
        assert (drawn, tokenizer.encode(drawn, parse_special=special)) == (drawn, engine.tokenize(drawn, True, special))


def test_invalid_utf8_is_read_as_in_llama_cpp(tmp_path: Path) -> None:
    model = write(open_model(build("xlm_roberta", tmp_path / "m")), tmp_path / "model.gguf")
    for raw in (b"the\xffquick", b"a\xe4\xba", b"a\xc0b", b"\xed\xa0\x80x"):
        tokens = load_tokenizer(model.metadata).encode(raw.decode(errors="surrogateescape"))
        assert (raw, tokens) == (raw, oracle.Model(tmp_path / "model.gguf").tokenize(raw))


def test_a_text_comes_back(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(open_model(build("xlm_roberta", tmp_path / "m")).metadata)
    assert tokenizer.decode(tokenizer.encode("the quick brown fox")) == "the quick brown fox"


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    tokens = {"tokenizer.ggml.model": text("t5"), "tokenizer.ggml.tokens": array(ValueType.STRING, ["a", "b"])}
    with pytest.raises(InputError, match="marks 0 tokens as unknown, not one"):
        load_tokenizer(tokens)
    types = {"tokenizer.ggml.token_type": array(ValueType.INT32, [2, 1])}
    damaged = {"tokenizer.ggml.precompiled_charsmap": array(ValueType.UINT8, [255] * 9)}
    with pytest.raises(InputError, match="the unigram tokenizer of the file is damaged"):
        load_tokenizer({**tokens, **types, **damaged})
    checkpoint = build("xlm_roberta", tmp_path / "m")
    document = json.loads((checkpoint / "tokenizer.json").read_text())
    document["normalizer"]["precompiled_charsmap"] = "?"
    (checkpoint / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        open_model(checkpoint)

"""WordPiece: a file's tokens are llama.cpp's for any text, and the checkpoint's for ordinary ones."""

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
    *map(chr, range(32, 127)), *"éüßñ人工가나一ａ·…—\u200b\xad\t\n\r\x01\x7f\x85\xa0ُअा\u0301İſ\ufffd", "the", "##", "▁",
    "[CLS]", "[UNK]", "model", "numbers",
]  # fmt: skip


@pytest.mark.parametrize("name", ["bert", "bert-masked-f16"])
def test_any_text_has_the_tokens_of_llama_cpp(name: str, tmp_path: Path) -> None:
    model = write(open_model(build(name, tmp_path / name)), tmp_path / "model.gguf")
    tokenizer, engine, chance = load_tokenizer(model.metadata), oracle.Model(tmp_path / "model.gguf"), random.Random(0)
    for _ in range(2000):
        drawn = "".join(chance.choices(_LETTERS, k=chance.randrange(24)))
        special = chance.random() < 0.5
        assert (drawn, tokenizer.encode(drawn, parse_special=special)) == (drawn, engine.tokenize(drawn, True, special))


def test_invalid_utf8_is_left_out_as_in_llama_cpp(tmp_path: Path) -> None:
    model = write(open_model(build("bert", tmp_path / "bert")), tmp_path / "model.gguf")
    for raw in (b"the\xffquick", b"\xe4\xba", b"a\xc0\x80b", b"\xed\xa0\x80x"):
        tokens = load_tokenizer(model.metadata).encode(raw.decode(errors="surrogateescape"))
        assert (raw, tokens) == (raw, oracle.Model(tmp_path / "model.gguf").tokenize(raw))


def test_a_text_comes_back(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(open_model(build("bert", tmp_path / "bert")).metadata)
    assert tokenizer.decode(tokenizer.encode("The quick Brown fox, jumps")) == "the quick brown fox , jumps"


def test_a_file_without_the_usual_tokens_has_none_around_a_text() -> None:
    metadata = {
        "tokenizer.ggml.model": text("bert"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, ["▁a", "b"]),
    }
    assert load_tokenizer(metadata).encode("ab xa a") == [0, 1, 0]


def test_another_kind_of_tokenizer_is_refused(tmp_path: Path) -> None:
    checkpoint = build("bert", tmp_path / "bert")
    document = json.loads((checkpoint / "tokenizer.json").read_text())
    document["model"] = {"type": "WordLevel", "vocab": document["model"]["vocab"], "unk_token": "[UNK]"}
    (checkpoint / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="a tokenizer of type WordLevel"):
        open_model(checkpoint)

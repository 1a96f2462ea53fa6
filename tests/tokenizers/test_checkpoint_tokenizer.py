"""Tokenizers of kinds that llama.cpp's `llama` and `gpt2` are not: what is there is said, and what is known."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from quantize_cli.errors import InputError
from quantize_cli.model.source import open_model
from tests import checkpoints
from tests.tokenizers import trained

WORDS = {"<unk>": 0, "▁": 1, "a": 2, "b": 3, "ab": 4}


def refused(folder: Path, **files: Any) -> InputError:
    named = {name.replace("__", "."): content for name, content in files.items()}
    checkpoints.build("llama", folder, files={"tokenizer.model": None, **named})
    with pytest.raises(InputError) as caught:
        open_model(folder)
    return caught.value


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0), "Unigram (that of T5, XLNet and ALBERT)"),
        (models.WordPiece(WORDS, unk_token="<unk>"), "WordPiece (that of BERT)"),
        (models.WordLevel(WORDS, "<unk>"), "WordLevel (a token for each word)"),
    ],
)
def test_another_type_is_named(model: Any, named: str, tmp_path: Path) -> None:
    error = refused(tmp_path, tokenizer__json=Tokenizer(model).to_str())
    assert str(error) == f"{tmp_path}/tokenizer.json: a tokenizer of type {named} is not supported"
    assert "byte-level BPE" in str(error.hint)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"type": "NeuralBPE", "vocab": {}}, "'NeuralBPE'"),
        ({"vocab": [["a", 0.0]]}, "Unigram"),
        ({"vocab": {"a": 0}, "continuing_subword_prefix": "##"}, "WordPiece"),
        ({"vocab": {"a": 0}}, "WordLevel"),
    ],
)
def test_a_type_that_is_new_or_unsaid_is_named(model: dict[str, Any], named: str, tmp_path: Path) -> None:
    assert f"a tokenizer of type {named}" in str(refused(tmp_path, tokenizer__json={"model": model}))


def test_a_tokenizer_json_without_a_model_is_none(tmp_path: Path) -> None:
    assert "tokenizer.json: holds no 'model'" in str(refused(tmp_path, tokenizer__json={"version": "1.0"}))


def test_pieces_without_a_spelling_for_the_rest_are_refused(tmp_path: Path) -> None:
    backend = Tokenizer(models.BPE(WORDS, [("a", "b")], unk_token="<unk>"))
    error = refused(tmp_path, tokenizer__json=backend.to_str(), tokenizer_config__json={})
    assert "a BPE model that is neither byte-level nor has byte fallback" in str(error)


def test_a_unigram_model_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, tokenizer__model=trained.model(400, model_type="unigram"))
    assert "tokenizer.model: a sentencepiece model of kind unigram is not supported" in str(error)


def test_files_of_a_slow_tokenizer_are_named(tmp_path: Path) -> None:
    error = refused(tmp_path, vocab__json=WORDS, merges__txt="a b\n")
    assert str(error).endswith("tokenizer.model, tokenizer.json, only vocab.json and merges.txt")
    assert "transformers" in str(error.hint)


def test_a_tokenizer_json_that_cannot_be_read_is_passed_by_for_a_model(tmp_path: Path) -> None:
    document = {"version": "1.0", "model": {"type": "BPE", "byte_fallback": True, "vocab": 7, "merges": []}}
    checkpoints.build("llama", tmp_path, files={"tokenizer.json": document})
    assert "; tokens are those of tokenizer.model" in open_model(tmp_path).warnings[0]


def test_a_model_that_is_none_is_passed_by_for_a_tokenizer_json(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended")
    files = {"tokenizer.model": b"IQ== 0", "tokenizer.json": document}
    checkpoints.build("llama", tmp_path, config={"vocab_size": 800}, files=files)
    assert (
        "not a sentencepiece model of 6 bytes; tokens are those of tokenizer.json" in open_model(tmp_path).warnings[0]
    )

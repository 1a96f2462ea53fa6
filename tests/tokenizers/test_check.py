"""Tokens of the file that are not the checkpoint's own are told, or refused where they are most of a text's."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.model.source import open_model
from tests import checkpoints, vocabularies
from tests.tokenizers import trained

CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
PREPENDED = trained.document(trained.model(), "prepended", (("<|user|>", True),))


def build(folder: Path, document: dict[str, Any]) -> Path:
    files = {"tokenizer.model": None, "tokenizer.json": json.dumps(document), "tokenizer_config.json": CONFIG}
    return checkpoints.build("llama", folder, config={"vocab_size": vocabularies.size(document)}, files=files)


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PREPENDED), **parts}


def test_equal_tokens_need_no_word(tmp_path: Path) -> None:
    assert open_model(build(tmp_path, PREPENDED)).warnings == ()


def test_a_marker_that_takes_spaces_with_it_is_told(tmp_path: Path) -> None:
    document = changed()
    document["added_tokens"][-1]["rstrip"] = True
    (warning,) = open_model(build(tmp_path, document)).warnings
    assert "tokenizer.json: llama.cpp splits 2 of " in warning
    assert "built-in texts differently, of added tokens: 'one <|user|> two' becomes [" in warning
    assert "it knows no flags of added tokens" in warning


def test_letters_that_are_composed_are_told(tmp_path: Path) -> None:
    (warning,) = open_model(checkpoints.build("qwen2", tmp_path)).warnings
    assert "of combining letters" in warning
    assert warning.endswith("(it composes no letters)")


def test_a_text_without_its_spaces_is_told(tmp_path: Path) -> None:
    stored = trained.model(remove_extra_whitespaces=True)
    files = {"tokenizer.model": stored, "tokenizer_config.json": CONFIG}
    (warning,) = open_model(checkpoints.build("llama", tmp_path, config={"vocab_size": 800}, files=files)).warnings
    assert "tokenizer.model: llama.cpp splits" in warning
    assert "of spaces" in warning


def test_other_tokens_of_most_texts_are_refused(tmp_path: Path) -> None:
    # Spaces are not spelled at all.
    build(tmp_path, changed(normalizer=None))
    with pytest.raises(InputError, match=r"of \d+ built-in texts differently, of ordinary text, ") as caught:
        open_model(tmp_path)
    assert caught.value.hint is not None
    assert str(caught.value).isprintable()


def test_bytes_without_a_token_are_told(tmp_path: Path) -> None:
    files = {"tokenizer.model": trained.model(byte_fallback=False), "tokenizer_config.json": CONFIG}
    warnings = open_model(checkpoints.build("llama", tmp_path, config={"vocab_size": 800}, files=files)).warnings
    assert any("no tokens for 212 of 256 bytes" in warning for warning in warnings)


def qwen(pattern: str) -> dict[str, Any]:
    document = vocabularies.byte_level("qwen2", ["<|endoftext|>"])
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    return {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": {}}


def test_a_pattern_spelled_otherwise_is_known_by_its_tokens(tmp_path: Path) -> None:
    other = vocabularies.QWEN2.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
    model = open_model(checkpoints.build("qwen2", tmp_path, config={"vocab_size": 417}, files=qwen(other)))
    assert model.metadata["tokenizer.ggml.pre"].data == "qwen2"
    assert "it is called qwen2, which gives the same tokens for all of" in model.warnings[0]


def test_a_pattern_that_cuts_otherwise_is_shown(tmp_path: Path) -> None:
    checkpoints.build("qwen2", tmp_path, config={"vocab_size": 417}, files=qwen("[a-z]+"))
    with pytest.raises(InputError, match=r"no name for this pre-tokenizer, which cuts by '\[a-z\]\+'$") as caught:
        open_model(tmp_path)
    assert "the nearest is" in str(caught.value.hint)


def test_a_space_that_byte_level_puts_first_is_said(tmp_path: Path) -> None:
    document = vocabularies.byte_level("gpt-2", ["<|endoftext|>"])
    document["pre_tokenizer"]["add_prefix_space"] = True
    checkpoints.build("gpt2", tmp_path, files={"tokenizer.json": vocabularies.dump(document)})
    with pytest.raises(InputError, match="no name for this pre-tokenizer, which puts a space first and cuts by"):
        open_model(tmp_path)

"""Byte-level BPE: pre-tokenizers are known by what they do, and files that break promises are refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import ValueType, array, text
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from quantize_cli.tokenizers.vocabulary import pretokenizer
from quantize_cli.tokenizers.vocabulary.pretokenizer import name_by_hash, name_by_structure
from tests import checkpoints, vocabularies


@pytest.mark.parametrize("name", vocabularies.PRETOKENIZERS)
def test_a_pretokenizer_is_known_by_what_it_does(name: str) -> None:
    assert name == name_by_structure(vocabularies.byte_level(name, ["<|endoftext|>"]))


def test_a_known_hash_goes_before_the_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretokenizer._KNOWN, hashlib.sha256(b"[1, 2]").hexdigest(), "deepseek-r1-qwen")
    assert name_by_hash(lambda test: [1, 2] if "Български" in test else []) == "deepseek-r1-qwen"
    assert name_by_hash(lambda test: [2, 1]) is None


@pytest.mark.parametrize(
    "pretokenizer",
    [
        None,
        "text",
        {"type": "Metaspace"},
        {"type": "ByteLevel", "add_prefix_space": True},
        {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": "x", "behavior": "Isolated"},
        {"type": "Sequence", "pretokenizers": 3},
    ],
)
def test_a_pretokenizer_without_a_name_has_none(pretokenizer: Any) -> None:
    document = vocabularies.byte_level("gpt-2", ["<|endoftext|>"])
    assert name_by_structure({**document, "pre_tokenizer": pretokenizer}) is None


def test_a_pretokenizer_without_a_name_is_refused(tmp_path: Path) -> None:
    document = vocabularies.byte_level("qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]+"
    checkpoints.build("qwen2", tmp_path, files={"tokenizer.json": vocabularies.dump(document)})
    with pytest.raises(InputError, match=r"tokenizer\.json: llama\.cpp has no name for this pre-tokenizer"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    "document", ['{"model": {"type": "BPE", "merges": [], "vocab": 7}}', '{"model": {"merges": 1}}']
)
def test_a_broken_tokenizer_is_named(document: str, tmp_path: Path) -> None:
    checkpoints.build("gpt2", tmp_path, files={"tokenizer.json": document})
    with pytest.raises(InputError, match=r"tokenizer\.json: "):
        open_model(tmp_path)


def test_merges_of_pairs_are_joined_and_their_spaces_spelled(tmp_path: Path) -> None:
    document = vocabularies.byte_level("gpt-2", ["<|endoftext|>"])
    expected = list(document["model"]["merges"])
    document["model"]["merges"] = [merge.split(" ") for merge in expected]
    checkpoints.build("gpt2", tmp_path, files={"tokenizer.json": vocabularies.dump(document)})
    assert expected == open_model(tmp_path).metadata["tokenizer.ggml.merges"].data


def test_an_unknown_name_in_a_gguf_file_is_told() -> None:
    metadata = {
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.pre": text("made\x1bup"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, ["a"]),
    }
    with pytest.raises(InputError, match=r"pre-tokenizer 'made\\x1bup' is not supported"):
        load_tokenizer(metadata)

"""Tokens that files add are tokens of the GGUF file, whichever of them adds them."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.model.source import open_model
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, USER_DEFINED
from tests import checkpoints
from tests.tokenizers import trained

SIZE = 800
CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
DECODER = {"800": {"content": "<|im_start|>", "special": True}, "801": {"content": "<tool>", "special": False}}
MARKERS = (("<|im_start|>", True), ("<tool>", False))


def found(folder: Path, **files: Any) -> list[tuple[str, int]]:
    """The last three tokens of a model of 802 rows with tokenizer.model and these files."""
    named = {name.replace("__", "."): content for name, content in files.items()}
    files = {"tokenizer.model": trained.model(), "tokenizer_config.json": CONFIG, **named}
    checkpoints.build("llama", folder, config={"vocab_size": SIZE + 2}, files=files)
    metadata = open_model(folder).metadata
    names, types = (metadata[f"tokenizer.ggml.{key}"].data for key in ("tokens", "token_type"))
    return list(zip(names, types, strict=True))[SIZE:]


EXPECTED = [("<|im_start|>", CONTROL), ("<tool>", USER_DEFINED)]


def test_by_tokenizer_json_beside_a_model(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended", MARKERS)
    assert found(tmp_path, tokenizer__json=json.dumps(document)) == EXPECTED


def test_by_tokenizer_json_alone(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended", MARKERS)
    assert found(tmp_path, tokenizer__json=json.dumps(document), tokenizer__model=None) == EXPECTED


def test_by_a_tokenizer_json_of_another_kind_beside_a_model(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended", MARKERS)
    document["model"] = {"type": "Unigram", "vocab": []}
    assert found(tmp_path, tokenizer__json=json.dumps(document)) == EXPECTED


def test_by_tokenizer_config(tmp_path: Path) -> None:
    assert found(tmp_path, tokenizer_config__json={**CONFIG, "added_tokens_decoder": DECODER}) == EXPECTED


def test_by_tokenizer_config_beside_a_tokenizer_json_without_them(tmp_path: Path) -> None:
    document = json.dumps(trained.document(trained.model(), "prepended"))
    config = {**CONFIG, "added_tokens_decoder": DECODER}
    assert found(tmp_path, tokenizer__json=document, tokenizer_config__json=config, tokenizer__model=None) == EXPECTED


def test_by_added_tokens(tmp_path: Path) -> None:
    assert found(tmp_path, added_tokens__json={"<|im_start|>": 800, "<tool>": 801}) == EXPECTED


def test_by_added_tokens_with_their_role_in_the_map(tmp_path: Path) -> None:
    roles = {**CONFIG, "additional_special_tokens": ["<tool>"]}
    tokens = found(tmp_path, added_tokens__json={"<|im_start|>": 800, "<tool>": 801}, special_tokens_map__json=roles)
    assert tokens == [("<|im_start|>", CONTROL), ("<tool>", CONTROL)]


def test_by_a_role_alone(tmp_path: Path) -> None:
    roles = {"pad_token": {"content": "[PAD]"}, "mask_token": "<mask>"}
    assert found(tmp_path, special_tokens_map__json=roles) == [("[PAD]", CONTROL), ("<mask>", CONTROL)]


@pytest.mark.parametrize("name", ["he", "▁the"])
def test_a_piece_that_is_added_again_is_cut_out_first(name: str, tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended")
    token = document["model"]["vocab"][name]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    document["added_tokens"].append({"id": token, "content": name, **flags})
    files = {"tokenizer.model": None, "tokenizer.json": json.dumps(document), "tokenizer_config.json": CONFIG}
    checkpoints.build("llama", tmp_path, config={"vocab_size": SIZE}, files=files)
    types = open_model(tmp_path).metadata["tokenizer.ggml.token_type"].data
    # A text has no such letter, so merging finds it or nothing does.
    assert types[token] == (NORMAL if name.startswith("▁") else USER_DEFINED)

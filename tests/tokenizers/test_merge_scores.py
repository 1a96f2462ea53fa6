"""Scores, types and spaces out of a tokenizer.json are those of the tokenizer.model it was made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend

from quantize_cli.model.source import Model, open_model
from quantize_cli.tokenizers.vocabulary.gguf_keys import BYTE, UNKNOWN
from quantize_cli.tokenizers.vocabulary.merge_scores import adds_space_prefix
from tests import checkpoints, vocabularies
from tests.tokenizers import trained

CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def opened(folder: Path, document: dict[str, Any], stored: bytes | None = None, **config: Any) -> Model:
    files = {"tokenizer.json": json.dumps(document), "tokenizer.model": stored}
    files["tokenizer_config.json"] = {**CONFIG, **config}
    return open_model(
        checkpoints.build("llama", folder, config={"vocab_size": vocabularies.size(document)}, files=files)
    )


@pytest.mark.parametrize("spelling", [list, " ".join])
def test_scores_are_those_that_training_gave(spelling: Any, tmp_path: Path) -> None:
    stored = trained.model()
    document = trained.document(stored, "prepended")
    document["model"]["merges"] = [spelling(pair) for pair in document["model"]["merges"]]
    (tmp_path / "tokenizer.model").write_bytes(stored)
    expected = open_model(
        checkpoints.build("llama", tmp_path / "m", config={"vocab_size": 800}, files={"tokenizer.model": stored})
    )
    found = opened(tmp_path / "j", document)
    for key in ("tokens", "scores", "token_type"):
        assert expected.metadata[f"tokenizer.ggml.{key}"].data == found.metadata[f"tokenizer.ggml.{key}"].data


def test_bytes_are_bytes_though_they_are_added_as_special(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "prepended", (("<0x0A>", True),))
    document["added_tokens"][-1]["id"] = document["model"]["vocab"]["<0x0A>"]
    types = opened(tmp_path, document).metadata["tokenizer.ggml.token_type"].data
    assert (types[0], types[document["model"]["vocab"]["<0x0A>"]]) == (UNKNOWN, BYTE)


def test_a_piece_that_no_merge_makes_is_joined_last(tmp_path: Path) -> None:
    document = trained.document(trained.model(), "spaces kept")
    vocabulary = document["model"]["vocab"]
    vocabulary["hehe"] = len(vocabulary)
    model = opened(tmp_path, document)
    scores = model.metadata["tokenizer.ggml.scores"].data
    assert scores[vocabulary["hehe"]] < min(scores[:-1])
    (warning,) = model.warnings
    assert "of tokens of its own: 'hehe' becomes [" in warning


@pytest.mark.parametrize(("style", "expected"), [("prepended", True), ("metaspace", True), ("spaces kept", False)])
def test_a_space_goes_first_where_the_file_puts_one(style: str, expected: bool, tmp_path: Path) -> None:
    document = trained.document(trained.model(), style)
    assert adds_space_prefix(Backend.from_str(json.dumps(document))) is expected
    key = "tokenizer.ggml.add_space_prefix"
    # What the config was made with does not change what the file does.
    assert opened(tmp_path, document, add_prefix_space=not expected).metadata[key].data is expected


@pytest.mark.parametrize(("scheme", "expected"), [("always", True), ("first", True), ("never", False)])
def test_each_scheme_of_a_metaspace_is_known(scheme: str, expected: bool) -> None:
    document = trained.document(trained.model(), "metaspace")
    document["pre_tokenizer"]["prepend_scheme"] = scheme
    assert adds_space_prefix(Backend.from_str(json.dumps(document))) is expected


@pytest.mark.parametrize("stated", [None, True, False])
def test_a_model_alone_puts_a_space_first_unless_the_config_knows_better(stated: bool | None, tmp_path: Path) -> None:
    stored = trained.model(add_dummy_prefix=False)
    config = {**CONFIG, "add_prefix_space": stated}
    files = {"tokenizer.model": stored, "tokenizer_config.json": config}
    checkpoints.build("llama", tmp_path, config={"vocab_size": 800}, files=files)
    assert open_model(tmp_path).metadata["tokenizer.ggml.add_space_prefix"].data is bool(stated)


def test_merges_in_another_order_than_the_scores_are_believed(tmp_path: Path) -> None:
    stored = trained.model()
    document = trained.document(stored, "prepended")
    document["model"]["merges"].reverse()
    (warning,) = opened(tmp_path, document, stored).warnings
    assert "tokenizer.model: its pieces merge in another order than those of tokenizer.json" in warning


def test_a_tokenizer_json_of_another_vocabulary_is_believed(tmp_path: Path) -> None:
    document = trained.document(trained.model(700), "prepended")
    model = opened(tmp_path, document, trained.model())
    assert len(model.metadata["tokenizer.ggml.tokens"].data) == 700
    (warning,) = model.warnings
    assert "of its 800 pieces are those of tokenizer.json, which has 700; tokens are those of tokenizer.json" in warning

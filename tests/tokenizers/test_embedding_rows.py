"""A file has a token for each row of the embedding, whatever the tokenizer's kind and whichever is longer."""

from pathlib import Path
from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.model.source import Model, open_model
from quantize_cli.tokenizers.vocabulary.embedding_rows import RequiredTokens, TokenEntry, fit_to_embedding
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, UNUSED, USER_DEFINED
from tests import checkpoints, oracle, vocabularies
from tests.tokenizers.converted import convert

NOTHING = RequiredTokens(frozenset(), frozenset(), "")
KINDS = {"sentencepiece": "llama", "byte-fallback": "llama", "qwen2": "qwen2"}
SIZES = {
    "sentencepiece": vocabularies.SENTENCEPIECE_SIZE,
    "byte-fallback": vocabularies.size(vocabularies.byte_fallback()),
    "qwen2": vocabularies.size(vocabularies.byte_level("qwen2", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])),
}
SPM = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def build(kind: str, folder: Path, more: int, config: Any = None) -> Path:
    """A checkpoint with `more` rows than tokens, and this tokenizer_config.json."""
    files = {} if config is None else {"tokenizer_config.json": config}
    sizes = {"vocab_size": SIZES[kind] + more}
    return checkpoints.build(KINDS[kind], folder, tokenizer=kind, config=sizes, files=files)


def tokens(model: Model) -> list[tuple[str, int]]:
    names, types = (model.metadata[f"tokenizer.ggml.{key}"].data for key in ("tokens", "token_type"))
    return list(zip(names, types, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_token_get_padding_tokens(kind: str, tmp_path: Path) -> None:
    found = tokens(open_model(build(kind, tmp_path, more=64)))
    assert len(found) == SIZES[kind] + 64
    assert found[SIZES[kind] :] == [(f"[PAD{token}]", UNUSED) for token in range(SIZES[kind], SIZES[kind] + 64)]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_without_a_row_are_left_out_with_a_warning(kind: str, tmp_path: Path) -> None:
    model = open_model(build(kind, tmp_path, more=0, config={"pad_token": "[NEW]"}))
    rows = SIZES[kind]
    assert len(tokens(model)) == rows
    wanted = f"{rows + 1} tokens for an embedding of {rows} rows, those without a row are left out: '[NEW]' ({rows})"
    assert any(wanted in warning for warning in model.warnings)


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_loads_what_was_fitted(kind: str, tmp_path: Path) -> None:
    oracle.library()
    for more in (-3, 0, 64):
        config = {} if more < 0 else None
        convert(build(kind, tmp_path / str(more), more, config), tmp_path / "m.gguf")
        assert oracle.Model(tmp_path / "m.gguf", context=64).vocabulary == SIZES[kind] + more


def test_an_end_without_a_row_is_refused(tmp_path: Path) -> None:
    build("qwen2", tmp_path, more=-1)
    with pytest.raises(InputError, match=r"token '<\|im_end\|>' has id 418, .* 418 rows, and a text .* ends") as caught:
        open_model(tmp_path)
    assert "embedding" in str(caught.value.hint)


def test_a_marker_of_the_template_without_a_row_is_refused(tmp_path: Path) -> None:
    build("qwen2", tmp_path, more=-1, config={"chat_template": checkpoints.CHAT})
    with pytest.raises(InputError, match=r"token '<\|im_end\|>' has id 418, .* and the chat template uses it"):
        open_model(tmp_path)


def test_an_end_that_only_a_config_names_needs_a_row(tmp_path: Path) -> None:
    checkpoints.build(
        "qwen2", tmp_path, config={"vocab_size": 418, "eos_token_id": [1, 418]}, files={"tokenizer_config.json": {}}
    )
    with pytest.raises(InputError, match="has id 418"):
        open_model(tmp_path)


def test_a_token_that_is_not_put_first_needs_no_row(tmp_path: Path) -> None:
    model = open_model(build("qwen2", tmp_path, 0, {"bos_token": "[NEW]", "add_bos_token": False, "eos_token": None}))
    assert any("left out: '[NEW]' (419)" in warning for warning in model.warnings)
    assert "tokenizer.ggml.bos_token_id" not in model.metadata


def test_ids_that_no_token_has_get_padding_tokens(tmp_path: Path) -> None:
    document = vocabularies.byte_level("qwen2", ["<|endoftext|>"])
    document["model"]["vocab"] = {
        name: token + 3 * (token >= 300) for name, token in document["model"]["vocab"].items()
    }
    last = max(document["model"]["vocab"].values())
    document["added_tokens"][0]["id"] = document["model"]["vocab"]["<|endoftext|>"] = last + 1
    files = {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": {}}
    checkpoints.build("qwen2", tmp_path, config={"vocab_size": last + 2}, files=files)
    found = tokens(open_model(tmp_path))
    assert [name for name, _ in found[300:303]] == ["[PAD300]", "[PAD301]", "[PAD302]"]
    assert found[-1] == ("<|endoftext|>", CONTROL)


def test_an_added_token_that_is_read_with_another_id_is_told(tmp_path: Path) -> None:
    document = vocabularies.byte_level("qwen2", ["<|endoftext|>", "<|im_end|>"])
    document["added_tokens"][1]["id"] += 3
    files = {"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": {}}
    model = open_model(checkpoints.build("qwen2", tmp_path, config={"vocab_size": 440}, files=files))
    assert "added token '<|im_end|>' is stored as '420' and read as 417" in model.warnings[0]


def test_a_text_is_one_tokens() -> None:
    pieces = {0: TokenEntry("a", 0.0, NORMAL), 1: TokenEntry("b", 0.0, NORMAL), 2: TokenEntry("a", 0.0, USER_DEFINED)}
    found, warnings = fit_to_embedding(pieces, 3, NOTHING, "file")
    assert [piece.text for piece in found] == ["[PAD0]", "b", "a"]
    assert warnings == ("file: tokens with the text of another are left out: 'a' (0)",)


def test_a_padding_token_takes_no_name_that_is_taken() -> None:
    found, _ = fit_to_embedding({0: TokenEntry("[PAD1]", 0.0, CONTROL)}, 2, NOTHING, "file")
    assert [piece.text for piece in found] == ["[PAD1]", "[[PAD1]]"]


def test_many_that_are_left_out_are_counted() -> None:
    pieces = {token: TokenEntry(str(token), 0.0, NORMAL) for token in range(9)}
    _, (warning,) = fit_to_embedding(pieces, 2, NOTHING, "file")
    assert warning.startswith("file: 9 tokens for an embedding of 2 rows, those without a row are left out: '2' (2), ")
    assert warning.endswith(", '4' (4), and 4 more")


def test_a_config_with_another_number_of_tokens_gets_a_hint(tmp_path: Path) -> None:
    embedding = {"model.embed_tokens.weight": checkpoints.numbers("e", (1030, 64))}
    checkpoints.build("llama", tmp_path, tensors=embedding)
    with pytest.raises(InputError, match=r"shape \[1030, 64\], the config says \[1024, 64\]") as caught:
        open_model(tmp_path)
    assert caught.value.hint == "if the model has 1030 tokens, state it as 'vocab_size' in config.json"

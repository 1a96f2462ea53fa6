"""Special tokens and chat templates, from each place a checkpoint may state them."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.tokenizers.vocabulary.chat_template_files import template_warnings
from quantize_cli.tokenizers.vocabulary.special_tokens import looks_special, special_metadata
from tests import checkpoints

FIRST, TEXT = {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}
LAST, OTHER = {"SpecialToken": {"id": "</s>"}}, {"Sequence": {"id": "B"}}
ADDED = [{"content": "<s>", "id": 1}, {"content": "</s>", "id": 2}, {"content": "<end>", "id": 3}]
TEXTS = ("<unk>", "<s>", "</s>", "<end>", "a", "b")


def found(folder: Path, document: Any, config: Any, vocabulary: int = len(TEXTS), **files: str) -> dict[str, Any]:
    """What special_metadata says of a checkpoint with this tokenizer.json and tokenizer_config.json."""
    named = {name.replace("__", "."): content for name, content in files.items()}
    checkpoints.build("llama", folder, files={"tokenizer.json": document, "tokenizer_config.json": config, **named})
    metadata = special_metadata(open_checkpoint(folder), TEXTS[:vocabulary], "llama")
    return {key.removeprefix("tokenizer.").removeprefix("ggml."): value.data for key, value in metadata.items()}


def template(single: list[Any], pair: list[Any] | None = None) -> dict[str, Any]:
    processor = {"type": "TemplateProcessing", "single": single, "pair": pair or []}
    return {"added_tokens": ADDED, "post_processor": processor}


def test_a_template_says_what_is_added(tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
    assert found(tmp_path, template([FIRST, TEXT, LAST]), config) == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "add_bos_token": True,
        "add_eos_token": True,
    }


def test_the_template_goes_before_the_config(tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "add_eos_token": False}
    values = found(tmp_path, template([FIRST, TEXT]), config)
    assert (values["add_bos_token"], values["add_eos_token"]) == (True, False)


def test_a_token_that_ends_turns_is_kept_beside_the_one_that_ends_texts(tmp_path: Path) -> None:
    values = found(tmp_path, template([FIRST, TEXT, LAST]), {"bos_token": "<s>", "eos_token": "<end>"})
    assert (values["eos_token_id"], values["eot_token_id"]) == (2, 3)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [([FIRST, TEXT, FIRST, OTHER], False), ([TEXT, LAST, OTHER], True), ([TEXT, OTHER], None), ([OTHER, TEXT], None)],
)
def test_what_stands_between_two_texts(pair: list[Any], expected: bool | None, tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    assert expected == found(tmp_path, template([FIRST, TEXT], pair), config).get("add_sep_token")


def test_ids_beyond_the_vocabulary_are_left_out(tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": "<end>"}
    assert found(tmp_path, {"added_tokens": ADDED}, config, vocabulary=2) == {"bos_token_id": 1}


@pytest.mark.parametrize(
    "document",
    [
        {"post_processor": "none", "added_tokens": 3, "normalizer": [1]},
        {"post_processor": {"processors": 3}, "added_tokens": [None, {"id": "x"}]},
        {"post_processor": {"type": "TemplateProcessing", "single": [1, {"SpecialToken": 2}, {"Sequence": {}}]}},
        {"post_processor": {"type": "TemplateProcessing", "single": {"a": 1}, "pair": "ab"}},
    ],
)
def test_nonsense_says_nothing(document: dict[str, Any], tmp_path: Path) -> None:
    assert found(tmp_path, document, {"bos_token": 7, "chat_template": 7, "add_bos_token": "yes"}) == {}


def test_templates_have_names(tmp_path: Path) -> None:
    choices = [{"name": "default", "template": "a"}, {"name": "tool use", "template": "b"}, {"name": "x"}, 3]
    values = found(tmp_path, {}, {"chat_template": choices})
    assert values == {"chat_template": "a", "chat_template.tool_use": "b", "chat_templates": ["tool_use"]}


def templates(folder: Path, config: Any, **files: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The keys of a checkpoint's chat templates, and what is told of them."""
    values = found(folder, {}, config, len(TEXTS), **files)
    told = template_warnings(open_checkpoint(folder))
    return {key: value for key, value in values.items() if key.startswith("chat_template")}, told


def test_template_files_stand_in_for_the_config(tmp_path: Path) -> None:
    assert templates(tmp_path / "1", {"x": 1}, chat_template__jinja="a\r\nb\r\n") == ({"chat_template": "a\nb\n"}, ())
    assert templates(tmp_path / "2", None, chat_template__jinja="a") == ({"chat_template": "a"}, ())
    stated = json.dumps({"chat_template": "c"})
    assert templates(tmp_path / "3", {"x": 1}, chat_template__json=stated) == ({"chat_template": "c"}, ())


def test_a_template_file_goes_before_the_config_and_that_before_a_processors(tmp_path: Path) -> None:
    other = json.dumps({"chat_template": "other"})
    values, told = templates(tmp_path, {"chat_template": "old"}, chat_template__jinja="new", chat_template__json=other)
    assert values == {"chat_template": "new"}
    assert told == tuple(
        f"{tmp_path}: chat_template.jinja and {name} have different chat templates, the first is taken"
        for name in ("tokenizer_config.json", "chat_template.json")
    )
    stated, told = templates(tmp_path, {"chat_template": "old"}, chat_template__jinja="", chat_template__json=other)
    assert stated == {"chat_template": "old"}
    assert told == (
        f"{tmp_path}: tokenizer_config.json and chat_template.json have different chat templates, the first is taken",
    )


def test_templates_that_differ_in_line_ends_are_the_same(tmp_path: Path) -> None:
    config = {"chat_template": "a\nb"}
    assert templates(tmp_path, config, chat_template__jinja="a\r\nb") == ({"chat_template": "a\nb"}, ())


def test_line_ends_of_the_config_are_its_own(tmp_path: Path) -> None:
    assert templates(tmp_path, {"chat_template": "a\r\nb"}) == ({"chat_template": "a\r\nb"}, ())


@pytest.mark.parametrize("choices", [{"default": "a", "rag": "r"}, [{"name": "rag", "template": "r"}]])
def test_templates_by_name_are_read_in_either_spelling(choices: Any, tmp_path: Path) -> None:
    default = {"chat_template": "a"} if isinstance(choices, dict) else {}
    expected = {**default, "chat_template.rag": "r", "chat_templates": ["rag"]}
    assert templates(tmp_path, {"chat_template": choices}) == (expected, ())


@pytest.mark.parametrize("main", ["a", None])
def test_a_folder_of_templates_goes_before_the_config(main: str | None, tmp_path: Path) -> None:
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_bytes(b"r\r\n")
    files = {"chat_template__jinja": main} if main else {}
    values, told = templates(tmp_path, {"chat_template": [{"name": "rag", "template": "old"}]}, **files)
    default = {"chat_template": main} if main else {}
    assert values == {**default, "chat_template.rag": "r\n", "chat_templates": ["rag"]}
    assert len(told) == 1


@pytest.mark.parametrize(
    ("token", "expected"), [("<|x|>", True), ("<｜x｜>", True), ("<unused7>", True), ("<x>", False)]
)
def test_markers_are_known_by_their_looks(token: str, expected: bool) -> None:
    assert expected == looks_special(token)

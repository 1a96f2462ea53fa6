"""Every end that a checkpoint states ends a generation, in our runtime and in llama.cpp."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.formats.gguf.layout import Value, ValueType, array, u32
from quantize_cli.model.source import Model, open_model
from quantize_cli.tokenizers import load_tokenizer
from quantize_cli.tokenizers.vocabulary.end_tokens import (
    _INFILL,
    _NO_ENDS,
    _SHOWN,
    EOG_TEXTS,
    assign_end_keys,
    llama_cpp_eog_tokens,
)
from tests import checkpoints, oracle, vocabularies
from tests.tokenizers.converted import convert, write

FIRST = vocabularies.size(vocabularies.byte_level("gpt-2", []))
"""The id of the first token that is added."""


def checkpoint(folder: Path, specials: list[str], config: Any = None, **files: Any) -> Path:
    """A checkpoint of byte-level BPE with these added tokens; files are named like `generation_config`."""
    document = vocabularies.byte_level("gpt-2", specials)
    described = {f"{name}.json": content for name, content in files.items()}
    return checkpoints.build(
        "gpt2",
        folder,
        config={"vocab_size": vocabularies.size(document), **(config or {})},
        files={"tokenizer.json": vocabularies.dump(document), "tokenizer_config.json": None, **described},
    )


def ends_of(model: Model) -> dict[str, Any]:
    """The keys that hold ends, by what is special about them; ids count from the first added token."""
    keys = ("eos_token_id", "eot_token_id", "eom_token_id", "eog_token_ids")
    found = {key: model.metadata.get(f"tokenizer.ggml.{key}") for key in keys}
    return {
        key: value.data - FIRST if value.element is None else [token - FIRST for token in value.data]
        for key, value in found.items()
        if value is not None
    }


def test_a_list_of_ends_is_eos_and_eot(tmp_path: Path) -> None:
    model = open_model(checkpoint(tmp_path, ["<a>", "<b>"], {"eos_token_id": [FIRST + 1, FIRST]}))
    assert ends_of(model) == {"eos_token_id": 1, "eot_token_id": 0}
    assert load_tokenizer(model.metadata).end_ids == {FIRST, FIRST + 1}


def test_the_end_that_the_tokenizer_names_is_eos(tmp_path: Path) -> None:
    ends = {"eos_token_id": [FIRST + 1, FIRST]}
    model = open_model(checkpoint(tmp_path, ["<a>", "<b>"], ends, tokenizer_config={"eos_token": "<a>"}))
    assert ends_of(model) == {"eos_token_id": 0, "eot_token_id": 1}


def test_a_single_end_elsewhere_is_kept_beside_the_tokenizers(tmp_path: Path) -> None:
    config = {"eos_token_id": FIRST + 1}
    model = open_model(checkpoint(tmp_path, ["<a>", "<b>"], config, tokenizer_config={"eos_token": "<a>"}))
    assert ends_of(model) == {"eos_token_id": 0, "eot_token_id": 1}


def test_ends_of_generation_and_of_an_inner_config_count(tmp_path: Path) -> None:
    config = {"text_config": {"eos_token_id": FIRST + 2}}
    stated = {"eos_token_id": [FIRST, FIRST + 1]}
    model = open_model(checkpoint(tmp_path, ["<a>", "<b>", "<c>"], config, generation_config=stated))
    assert ends_of(model) == {"eos_token_id": 2, "eot_token_id": 0, "eom_token_id": 1}


def test_ends_are_put_where_their_names_belong(tmp_path: Path) -> None:
    specials = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    model = open_model(checkpoint(tmp_path, specials, {"eos_token_id": [FIRST, FIRST + 1, FIRST + 2]}))
    assert ends_of(model) == {"eos_token_id": 0, "eot_token_id": 2, "eom_token_id": 1}


def test_keys_are_for_ends_without_a_known_name_first(tmp_path: Path) -> None:
    specials = ["<a>", "<|eot_id|>", "<b>", "<c>"]
    config = {"eos_token_id": [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]}
    model = open_model(checkpoint(tmp_path, specials, config))
    assert ends_of(model) == {"eos_token_id": 0, "eot_token_id": 2, "eom_token_id": 3}
    assert load_tokenizer(model.metadata).end_ids == {FIRST, FIRST + 1, FIRST + 2, FIRST + 3}


def test_an_end_without_a_key_is_told_and_kept(tmp_path: Path) -> None:
    specials = ["<a>", "<b>", "<c>", "<d>"]
    config = {"eos_token_id": [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]}
    model = open_model(checkpoint(tmp_path, specials, config))
    assert ends_of(model) == {"eos_token_id": 0, "eot_token_id": 1, "eom_token_id": 2, "eog_token_ids": [3]}
    assert FIRST + 3 in load_tokenizer(model.metadata).end_ids
    assert any(f"no key for the end tokens {FIRST + 3} '<d>'" in warning for warning in model.warnings)


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("x", "'x'"),
        (True, "True"),
        (2.5, "2.5"),
        (-1, "-1"),
        (1 << 70, str(1 << 70)),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ({"a": 1}, "a dict"),
        ([[1]], "a list"),
        ([FIRST, None], "None"),
    ],
)
@pytest.mark.parametrize("file", ["config", "generation_config"])
def test_what_is_no_end_is_told(file: str, stated: Any, shown: str, tmp_path: Path) -> None:
    content = {"eos_token_id": stated}
    files = {"generation_config": content} if file == "generation_config" else {"config": content}
    model = open_model(checkpoint(tmp_path, ["<|endoftext|>"], **files))
    told = [warning for warning in model.warnings if "eos_token_id" in warning]
    assert told == [
        f"{tmp_path}/{file}.json: eos_token_id holds {shown}, no id of a vocabulary of {FIRST + 1} tokens, "
        "which is ignored"
    ]
    assert ends_of(model) == {"eos_token_id": 0}


def test_an_end_is_known_by_its_name_where_nothing_is_stated(tmp_path: Path) -> None:
    assert ends_of(open_model(checkpoint(tmp_path, ["<a>", "<|end_of_text|>"]))) == {"eos_token_id": 1}


def test_a_vocabulary_without_any_end_is_told(tmp_path: Path) -> None:
    model = open_model(checkpoint(tmp_path, ["<a>"]))
    assert ends_of(model) == {}
    assert any("no file says which token ends a text, so engines take token 11, 'ċ'" in w for w in model.warnings)


def test_a_name_beside_sentencepiece_is_an_end(tmp_path: Path) -> None:
    stated = {"bos_token": "<s>", "eos_token": "<|done|>", "added_tokens_decoder": {"5": {"content": "<|done|>"}}}
    files = {"tokenizer_config.json": stated}
    model = open_model(checkpoints.build("llama", tmp_path, config={"eos_token_id": 2}, files=files))
    assert model.metadata["tokenizer.ggml.eos_token_id"].data == 5
    assert load_tokenizer(model.metadata).end_ids == {2, 5}


def test_an_end_that_llama_cpp_unlearns_is_kept_by_a_key_of_ours() -> None:
    ids = {"<|return|>": 0, "<|call|>": 1, "<|end|>": 2}
    assert assign_end_keys([0, 2], ids, {}) == ({"eos": 0}, [2])


def keyed(model: Model, **keys: int | list[int]) -> Model:
    """The model with these keys of its vocabulary replaced."""
    values: dict[str, Value] = {
        f"tokenizer.ggml.{key}": array(ValueType.UINT32, value) if isinstance(value, list) else u32(value)
        for key, value in keys.items()
    }
    return Model(model.path, model.architecture, {**model.metadata, **values}, model.tensors)


def assert_ends_are_the_engines(model: Model, path: Path) -> None:
    oracle.library()
    engine = oracle.Model(path, context=64)
    assert engine.ends == load_tokenizer(model.metadata).end_ids


@pytest.mark.parametrize(
    "specials",
    [
        [
            text
            for text in EOG_TEXTS
            if text not in ("<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<|tool_response>")
        ],
        ["<|return|>", "<|call|>", "<|end|>", "</s>"],
        ["<|calls|>", "<|flush|>", "<|end|>"],
        ["<|return|>", "<|end|>"],
        ["<|tool_response>", "</s>"],
        ["<|plamo:eos|>", "</s>"],
        [_INFILL[role][0] for role in _INFILL],
        list(_SHOWN),
    ],
    ids=["names", "harmony", "solar", "no-call", "tools", "plamo", "infill", "shown"],
)
def test_ends_by_name_are_the_engines(specials: list[str], tmp_path: Path) -> None:
    model = convert(checkpoint(tmp_path, [*specials, "<x>"], {"eos_token_id": FIRST + len(specials)}), tmp_path / "m")
    assert_ends_are_the_engines(model, tmp_path / "m")


@pytest.mark.parametrize("role", ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep", "fim_pre"])
@pytest.mark.parametrize("number", [0, 1, 1 << 20])
def test_ends_by_key_are_the_engines(role: str, number: int, tmp_path: Path) -> None:
    specials = ["<x>", "</s>", "<|end|>", "<|file_sep|>", "<|fim_pad|>", "<|repo_name|>"]
    model = open_model(checkpoint(tmp_path, specials, {"eos_token_id": FIRST}))
    changed = write(keyed(model, **{f"{role}_token_id": FIRST + number}), tmp_path / "m.gguf")
    assert_ends_are_the_engines(changed, tmp_path / "m.gguf")


def test_llama_cpp_ends_at_all_ends_but_those_of_our_key(tmp_path: Path) -> None:
    specials = ["<a>", "<|eot_id|>", "<b>", "<c>", "<d>"]
    config = {"eos_token_id": [FIRST + place for place in range(5)]}
    convert(checkpoint(tmp_path, specials, config), tmp_path / "m.gguf")
    oracle.library()
    assert oracle.Model(tmp_path / "m.gguf", context=64).ends == {FIRST, FIRST + 1, FIRST + 2, FIRST + 3}


def test_what_ends_nothing_needs_one_of_each_group() -> None:
    for text, _, alternatives in _NO_ENDS:
        for groups in alternatives:
            marks = [group[0] for group in groups]
            for count in range(len(marks) + 1):
                for chosen in combinations(marks, count):
                    ids = {mark: place for place, mark in enumerate((*chosen, text))}
                    eos = {"eos": 0} if count else {}
                    assert (ids[text] in llama_cpp_eog_tokens(ids, eos).ends) == (count < len(marks))

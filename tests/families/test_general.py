"""What files beside the weights say of a model, and what is made of files that say it badly."""

from pathlib import Path

import pytest

from quantize_cli.model.card import CardError, front_matter
from quantize_cli.model.source import open_model
from tests import checkpoints


def test_front_matter_is_text_lists_and_objects() -> None:
    card = b"---\nlanguage:\n- no\n- en\ntags:\n\t- small\nversion: 1.10\nlicense: null\n---\nname: not this\n"
    expected = {"language": ["no", "en"], "tags": ["small"], "version": "1.10", "license": None}
    assert front_matter(card) == expected


@pytest.mark.parametrize("value", ["yes", "0x10", "!!bool x", '!!int ""', "2024-99-99", "1" * 400])
def test_what_looks_like_another_kind_stays_text(value: str) -> None:
    assert front_matter(f"---\nlicense: {value}\n---\n".encode()) == {"license": value.split()[-1].strip('"')}


@pytest.mark.parametrize("readme", [b"", b"# no front matter", b"---\n- a list\n---\n", b"---", b"\xff\xfe-\0-\0-\0"])
def test_a_card_without_keys_says_nothing(readme: bytes) -> None:
    assert front_matter(readme) == {}


def test_only_the_front_matter_need_be_utf_8() -> None:
    assert front_matter(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\nna\xefve\r\n") == {"license": "mit"}


@pytest.mark.parametrize(
    "block",
    [
        b"a: [1", b"[" * 5000, b"!!python/object/apply:os.system [ls]", b"!other x", b"a: *b", b"a: \x00",
        b"a: na\xefve", b'a: "\\ud800"', b"a: &a [x]\nb: [*a, *a]", b"- x\n" * 40_000, b"a: " + b"x" * (1 << 20),
    ],
)  # fmt: skip
def test_front_matter_that_is_no_card_is_an_error_of_its_own(block: bytes) -> None:
    with pytest.raises(CardError):
        front_matter(b"---\n" + block + b"\n---\n")


def test_a_broken_card_costs_a_warning_and_no_more(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path / "Some-Model", files={"README.md": "---\na: [1\n---\n"})
    model = open_model(tmp_path / "Some-Model")
    assert "README.md: the model card is not read" in model.warnings[0]
    assert model.metadata["general.name"].data == "Some Model"


def test_values_that_are_no_text_become_text(tmp_path: Path) -> None:
    card = "---\nversion: 1.5\nlicense:\n- mit\n- other\nbase_model:\n- name: Parent\n  url: 7\n- 3\ntags: []\n---\n"
    checkpoints.build("llama", tmp_path / "m", files={"README.md": card})
    metadata = open_model(tmp_path / "m").metadata
    assert metadata["general.version"].data == "1.5"
    assert metadata["general.license"].data == "mit,other"
    assert (
        metadata["general.base_model.count"].data,
        metadata["general.base_model.0.name"].data,
        metadata["general.base_model.0.url"].data,
    ) == (2, "Parent", "7")
    assert "general.tags" not in metadata

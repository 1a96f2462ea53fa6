"""What files beside the weights say of a model, and what is made of files that say it badly."""

from pathlib import Path

import pytest

from quantize_cli.models._card import CardError, front_matter
from quantize_cli.source import open_model
from tests import checkpoints


def test_front_matter_is_read_as_the_converter_reads_it() -> None:
    card = "---\nlanguage:\n- no\n- en\ntags:\n\t- small\n---\nname: not this\n"
    assert front_matter(card) == {"language": ["no", "en"], "tags": ["small"]}


@pytest.mark.parametrize("readme", ["", "# no front matter", "---\n- a list\n---\n", "---"])
def test_a_card_without_keys_says_nothing(readme: str) -> None:
    assert front_matter(readme) == {}


@pytest.mark.parametrize(
    "block", ["a: [1", "a: 2024-99-99", "[" * 5000, "!!python/object/apply:os.system [ls]", "a: *b", "a: \x00"]
)
def test_front_matter_that_is_no_yaml_is_an_error_of_its_own(block: str) -> None:
    with pytest.raises(CardError):
        front_matter(f"---\n{block}\n---\n")


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

"""A recipe of ours is spelled so that it can be read again, and any other so that it cannot be taken for one."""

from pathlib import Path

import pytest

from quantize_cli.errors import UsageError
from quantize_cli.pipeline import recipe
from quantize_cli.pipeline.recipe_text import format_recipe, parse_recipe


@pytest.mark.parametrize("name", [*recipe.presets(), "q4_k", "q4_k_m, pure", "f16, blk.0.*=q6_k, *=q8_0"])
def test_our_recipes_are_read_again(name: str) -> None:
    assert format_recipe(parse_recipe(name)) == name


def test_what_a_command_line_adds_is_kept() -> None:
    found = parse_recipe("q4_k_m, pure, blk.0.*=q6_k")
    assert found.rules == ()
    assert found.overrides == (recipe.override("blk.0.*=q6_k"),)


def test_a_recipe_of_a_file_is_not_taken_for_the_mix_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "q4_k_m.toml"
    path.write_text('default = "q8_0"\n')
    assert format_recipe(recipe.from_file(path)) == "q4_k_m, of a file"
    with pytest.raises(UsageError):
        parse_recipe("q4_k_m, of a file")


@pytest.mark.parametrize("text", ["", "mine", "q4_k_m,", "q4_k_m, blk=", "Q4_K_M", "q4_k_m, pure, pure", "../q4_k_m"])
def test_what_is_not_spelled_by_us_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_recipe(text)

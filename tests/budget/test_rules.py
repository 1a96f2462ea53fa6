"""A recipe written as TOML is read as the same recipe, whatever its rules ask for, and chooses the same types."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.budget.rules import to_toml
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.pipeline import recipe
from quantize_cli.pipeline.recipe import Recipe, Rule
from quantize_cli.pipeline.roles import ROLES
from tests.golden.recipes.cases import CASES

BY_HAND = ("output.weight=q8_0", "*attn_v*=q6_k", "blk.0.*=f16")


def again(found: Recipe) -> Recipe:
    """What is read of what is written, by the name it had."""
    return recipe.parse(to_toml(found), found.name)


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("name", [*recipe.presets(), "q4_k", "iq4_xs"])
def test_every_mix_is_read_as_it_was(name: str, pure: bool) -> None:
    found = replace(recipe.named(name, pure), overrides=tuple(map(recipe.override, BY_HAND)))
    assert again(found) == found


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
types = st.sampled_from(GgmlType)
CONDITIONS = {
    "layers": st.sampled_from(["first_eighth", "first_eighth_met", "middle", "ends_and_thirds"]),
    "bool | None": st.booleans(),
    "int | None": st.integers(-(2**63), 2**63 - 1),
    "str | None": words,
}
rules = st.builds(
    Rule,
    types,
    st.sampled_from(ROLES) | words.map("*{}".format),
    **{
        field.name: st.none() | CONDITIONS.get(field.name, CONDITIONS.get(str(field.type), st.nothing()))
        for field in fields(Rule)[2:]
    },
)
overrides = st.builds(Rule, types, words)


@given(st.lists(rules, max_size=4), st.lists(overrides, max_size=3), types, st.sampled_from(FileType))
@settings(deadline=None)
def test_every_condition_is_kept(ruled: list[Rule], by_hand: list[Rule], default: GgmlType, kind: FileType) -> None:
    found = Recipe("mine", default, kind, tuple(ruled), tuple(by_hand))
    assert again(found) == found


@pytest.mark.parametrize("has_importance", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_is_read_chooses_the_same_types(name: str, has_importance: bool) -> None:
    model = CASES[name].model()
    for mix in recipe.presets():
        found = replace(recipe.named(mix), overrides=(recipe.override("*.[1-3].ffn_down*=q8_0"),))
        chosen = [it.choose(model.tensors, model.metadata, has_importance) for it in (found, again(found))]
        assert chosen[0] == chosen[1], mix


def test_types_given_by_hand_come_before_those_of_the_file() -> None:
    found = recipe.parse('default = "q4_k"\n[[override]]\ntensors = "output.weight"\ntype = "q6_k"\n', "mine")
    assert found.overrides == (Rule(GgmlType.Q6_K, "output.weight"),)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('tensors = "a*"', "override 1: no 'type'"),
        ('type = "q6_k"', "override 1: no 'tensors'"),
        ('tensors = "a*"\ntype = "q6"', "override 1: unknown type 'q6'"),
        ('tensors = "a*"\ntype = "q6_k"\nexperts = 8', "override 1: unknown key 'experts'"),
    ],
)
def test_an_override_is_a_pattern_and_a_type(table: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'default = "q4_k"\n[[override]]\n{table}\n')
    with pytest.raises(InputError, match=says):
        recipe.from_file(path)

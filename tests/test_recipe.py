"""Recipes choose what llama.cpp chooses, obey what the user asks for, and refuse what they do not understand."""

import json
from pathlib import Path

import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import plan, recipe
from tests.golden.recipes.cases import CASES, MIXES, Case, summary, unread
from tests.golden.recipes.make import FOLDER
from tests.sources import Made

LLAMA_IGNORES_PATTERNS = ("f32", "f16", "bf16")
"""Mixes for which llama-quantize drops the types given for single tensors without a word; we obey them."""


def decided(case: Case, chosen: recipe.Recipe) -> dict[str, str]:
    return {step.tensor.name: step.type.name.lower() for step in plan.make(case.model(), chosen).steps}


@pytest.mark.parametrize("name", CASES)
def test_the_mixes_choose_what_llama_quantize_chose(name: str) -> None:
    case = CASES[name]
    golden = json.loads((FOLDER / f"{name}.json").read_text())
    overrides = tuple(recipe.override(f"{ours}={type_}") for ours, _, type_ in case.overrides)
    for mix in MIXES:
        obeyed = () if mix in LLAMA_IGNORES_PATTERNS else overrides
        chosen = recipe.replace(recipe.named(mix, case.pure), overrides=obeyed)
        assert (mix, golden[mix]) == (mix, summary(decided(case, chosen)))


@pytest.mark.parametrize(("bits", "name"), recipe.BITS.items())
def test_bits_stand_for_the_usual_mix(bits: int, name: str) -> None:
    assert name in recipe.presets()
    assert recipe.named(name).file_type.name == name.upper()


@pytest.mark.parametrize("name", ["q4_k_m", "Q4_K_M", "q4_K_m"])
def test_letter_case_does_not_matter(name: str) -> None:
    assert recipe.named(name) == recipe.named("q4_k_m")
    assert recipe.override(f"output.weight={name[:4]}") == recipe.Rule(GgmlType.Q4_K, "output.weight")


@pytest.mark.parametrize(("name", "file_type"), [("q4_k", FileType.Q4_K_S), ("F16", FileType.F16), ("i8", 1024)])
def test_a_block_type_is_what_every_tensor_gets(name: str, file_type: int) -> None:
    found = recipe.named(name)
    assert (found.default, found.rules, found.file_type) == (GgmlType[name.upper()], (), file_type)


@pytest.mark.parametrize("name", ["q4_k_x", "", "../recipe", "q4_k\x1b[2J"])
def test_an_unknown_type_is_named_with_the_known_mixes(name: str) -> None:
    with pytest.raises(UsageError, match="unknown type or mix") as caught:
        recipe.named(name)
    assert str(caught.value).isprintable()
    assert caught.value.hint is not None
    assert "q4_k_m" in caught.value.hint


@pytest.mark.parametrize("text", ["q6_k", "=q6_k", ""])
def test_an_override_needs_a_pattern_and_a_type(text: str) -> None:
    with pytest.raises(UsageError, match="not of the form PATTERN=TYPE"):
        recipe.override(text)


def test_an_override_of_an_unknown_type_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"--tensor 'a=b=q6': unknown type 'q6'"):
        recipe.override("a=b=q6")


def test_a_pattern_of_many_stars_ends_promptly() -> None:
    tensor = Tensor("a" * 60, (1, 32), GgmlType.F32, Made(unread), "a")
    assert not recipe.override("*a" * 5000 + "b=q6_k").names(tensor)
    assert recipe.override("*a*" * 20 + "=q6_k").names(tensor)


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "mine.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


OWN = """
file_type = "q5_k_m"
default = "q5_K"
[[rule]]
tensors = "ffn_down"
layers = "first_4"
type = "q8_0"
[[rule]]
tensors = "blk.?.attn_v.*"
type = "f16"
"""


def test_a_recipe_of_ones_own_is_obeyed(tmp_path: Path) -> None:
    found = recipe.from_file(written(tmp_path, OWN))
    assert (found.name, found.file_name, found.file_type) == ("mine", "MINE", FileType.Q5_K_M)
    types = decided(Case(), found)
    assert [types[f"blk.{layer}.ffn_down.weight"] for layer in (0, 3, 4, 11)] == ["q8_0", "q8_0", "q5_k", "q5_k"]
    assert [types[f"blk.{layer}.attn_v.weight"] for layer in (0, 9, 10)] == ["f16", "f16", "q5_k"]
    assert types["output.weight"] == "q5_k"


def test_a_pure_recipe_of_ones_own_keeps_only_its_default(tmp_path: Path) -> None:
    found = recipe.from_file(written(tmp_path, OWN), pure=True)
    assert {types for name, types in decided(Case(), found).items() if "norm" not in name} == {"q5_k"}
    assert (found.name, found.file_name) == ("mine, pure", "MINE")


REFUSED = {
    "default = ]": r"mine\.toml: invalid value \(at line 1, column 11\)",
    "": "no default type",
    "default = 4": "no default type",
    'default = "q4_k"\nrules = []': "unknown key 'rules'",
    'default = "q4"': "unknown type 'q4'",
    'default = "q4_k"\nfile_type = "q4_k"': "unknown file_type 'q4_k'",
    'default = "q4_k"\nfile_type = 15': "unknown file_type '15'",
    'default = "q4_k"\nrule = 3': "'rule' is not a list of tables",
    'default = "q4_k"\nrule = [3]': "'rule' is not a list of tables",
    'default = "q4_k"\n[[rule]]\ntype = "q6_k"': "rule 1: no 'tensors'",
    'default = "q4_k"\n[[rule]]\ntensors = "output"': "rule 1: no 'type'",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6"': "rule 1: unknown type 'q6'",
    'default = "q4_k"\n[[rule]]\ntensors = "ouput"\ntype = "q6_k"': "rule 1: unknown tensors 'ouput'",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nlayer = "middle"': "rule 1: unknown key 'layer'",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nlayers = "last"': "rule 1: unknown layers 'last'",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nlayers = 3': "rule 1: layers = '3' is not a str",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nexperts = true': "experts = 'True' is not a int",
    'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nimportance = 1': "importance = '1' is not a bool",
    f"default = {'[' * 100_000}": "nested too deep",
    f"default = {'9' * 5000}": "a number of thousands of digits",
    f'default = "q4_k"\n[[rule]]\ntensors = "output"\ntype = "q6_k"\nlayers = 0x{"f" * 5000}': "layers = '0xfff",
    b"default = '\xff'": "not UTF-8 at byte 11",
}


@pytest.mark.parametrize("content", REFUSED, ids=lambda content: repr(content[:60]))
def test_a_recipe_that_is_not_understood_is_refused(content: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=REFUSED[content]) as caught:
        recipe.from_file(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml: no such file or directory"):
        recipe.from_file(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="is a directory"):
        recipe.from_file(tmp_path)


@pytest.mark.parametrize("name", recipe.presets())
def test_every_recipe_that_ships_bears_its_file_type(name: str) -> None:
    assert recipe.named(name).file_type.name == name.upper()


def test_the_first_override_that_matches_wins() -> None:
    overrides = tuple(map(recipe.override, ("output.weight=q8_0", "output*=q4_0", "*=q5_0")))
    types = decided(Case(layers=1), recipe.replace(recipe.named("q4_k_m"), overrides=overrides))
    assert (types["output.weight"], types["blk.0.attn_q.weight"]) == ("q8_0", "q5_0")

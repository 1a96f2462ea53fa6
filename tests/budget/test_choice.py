"""A budget in bytes becomes a recipe whose file, as written, keeps it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.budget.choice import recipe_within
from quantize_cli.budget.frontier import curve, next_points
from quantize_cli.budget.memory import memory_besides_file
from quantize_cli.budget.options import Losses, type_choices
from quantize_cli.budget.rules import literal, recipe_of, to_toml
from quantize_cli.budget.search import OverBudgetError
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.formats.gguf.layout import text, u32
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.sources import Held
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.recipe import Rule
from tests import checkpoints
from tests.runtime import synthetic

TYPES = (GgmlType.Q4_0, GgmlType.Q5_0, GgmlType.Q8_0)
PROVENANCE = {"quantize.imatrix.file": text("a text whose name has some length.txt")}


def losses_of(model: Model, types: tuple[GgmlType, ...] = TYPES) -> Losses:
    """Made up: each type loses a quarter of the one before it, each tensor a little less than the one before."""
    return {
        tensor.name: {type_: 4.0**-place / (1 + number) for place, type_ in enumerate(types)}
        for number, tensor in enumerate(model.tensors)
        if len(tensor.shape) > 1
    }


def model_of(*names: str) -> Model:
    random = np.random.default_rng(0)
    tensors = [from_array(name, random.normal(size=(3, 32)).astype(np.float32)) for name in names]
    return Model(Path("model.safetensors"), None, {"general.name": text("made up")}, tensors)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(checkpoints.build("llama", tmp_path_factory.mktemp("budget") / "model"))


@pytest.mark.parametrize("alignment", [32, 4096])
def test_the_bytes_counted_are_those_of_the_file(alignment: int, model: Model, tmp_path: Path) -> None:
    aligned = Model(model.path, None, {**model.metadata, "general.alignment": u32(alignment)}, model.tensors)
    losses = losses_of(aligned)
    options = type_choices(aligned, losses, PROVENANCE)
    for budget in np.linspace(options.smallest, options.largest, 4).astype(int).tolist():
        chosen = recipe_within(aligned, type_choices(aligned, losses, PROVENANCE), budget)
        made = plan.make(aligned, chosen, provenance=PROVENANCE)
        path = tmp_path / f"{budget}.gguf"
        writing.write({path: made}, Threads(2))
        assert path.stat().st_size == next_points(options, budget)[0][1].nbytes <= budget
    assert path.stat().st_size == options.largest


def test_a_budget_below_the_smallest_file_names_that(model: Model) -> None:
    losses = losses_of(model)
    smallest = type_choices(model, losses).smallest
    assert plan.make(model, recipe_within(model, type_choices(model, losses), smallest)).nbytes == smallest
    with pytest.raises(OverBudgetError, match=f"{smallest - 1} bytes are too few, the smallest .* has {smallest}"):
        recipe_within(model, type_choices(model, losses), smallest - 1)


def test_a_tensor_with_a_rule_of_its_own_keeps_it(model: Model) -> None:
    losses, rules = losses_of(model), [Rule(GgmlType.F16, "*attn_v*")]
    for budget in (type_choices(model, losses, rules=rules).smallest, 1 << 40):
        chosen = recipe_within(model, type_choices(model, losses, rules=rules), budget)
        types = {step.tensor.name: step.type for step in plan.make(model, chosen).steps}
        assert {type_ for name, type_ in types.items() if "attn_v" in name} == {GgmlType.F16}


def test_what_is_quantized_already_is_refused() -> None:
    tensor = Tensor("a.weight", (4, 32), GgmlType.Q4_0, Held(np.zeros((4, 18), np.uint8)), "a.gguf: it")
    with pytest.raises(InputError, match=r"a\.gguf: it: already q4_0"):
        type_choices(Model(Path("a.gguf"), None, {}, [tensor]), {})


def test_the_frontier_falls_and_ends_where_nothing_is_gained(model: Model) -> None:
    options = type_choices(model, losses_of(model))
    points = curve(options)
    assert (points[0].nbytes, points[-1].nbytes) == (options.smallest, options.largest)
    assert points == sorted(points, key=lambda point: (point.nbytes, -point.loss))
    budgets, losses = zip(
        *((budget, point.loss) for budget, point in next_points(options, options.smallest)), strict=True
    )
    assert budgets[-1] == options.smallest + 100_000_000
    assert list(losses) == sorted(losses, reverse=True)
    assert len(next_points(options, options.largest)) == 1


# --- recipes -----------------------------------------------------------------------------------------------------


def types_under(found: recipe.Recipe, model: Model) -> dict[str, GgmlType]:
    return {name: type_ for name, (type_, _) in found.choose(model.tensors, model.metadata, False).items()}


hostile = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@given(st.lists(hostile, unique=True, min_size=1, max_size=5), st.data())
@settings(deadline=None)
def test_a_recipe_goes_through_toml_whatever_tensors_are_called(names: list[str], data: st.DataObject) -> None:
    model = model_of(*(name + ".weight" for name in names))
    types = {tensor.name: data.draw(st.sampled_from(TYPES)) for tensor in model.tensors}
    made = recipe_of(model, types, "mine")
    assert types_under(made, model) == types
    read = recipe.parse(to_toml(made), "mine")
    assert (read.rules, read.default, read.file_type) == (made.rules, made.default, FileType.GUESSED)


def test_layers_that_agree_share_a_rule() -> None:
    names = [f"blk.{layer}.{part}.weight" for layer in range(12) for part in ("attn_q", "ffn_up", "ffn_down")]
    types = dict.fromkeys(names, GgmlType.Q4_0)
    types |= {name: GgmlType.Q5_0 for name in names if "ffn_up" in name}
    types |= {"blk.0.ffn_up.weight": GgmlType.Q8_0, "blk.11.ffn_down.weight": GgmlType.Q8_0}
    made = recipe_of(model_of(*names), types, "mine")
    assert [(rule.tensors, rule.type.name) for rule in made.rules] == [
        ("blk.0.ffn_up.weight", "Q8_0"), ("blk.*.ffn_up.weight", "Q5_0"), ("blk.11.ffn_down.weight", "Q8_0"),
    ]  # fmt: skip
    assert made.default is GgmlType.Q4_0


def test_a_name_that_a_pattern_would_catch_by_accident_is_told_apart() -> None:
    names = ["blk.0.a.weight", "blk.1.a.weight", "blk.0.b.a.weight", "blk.9.c.weight"]
    types = dict(zip(names, (GgmlType.Q8_0, GgmlType.Q8_0, GgmlType.Q4_0, GgmlType.Q4_0), strict=True))
    model = model_of(*names)
    assert types_under(recipe_of(model, types, "mine"), model) == types


@pytest.mark.parametrize("name", ["output", "weight", "blk.[0].weight", "*", "?.weight", "]["])
def test_a_literal_matches_its_name_alone(name: str) -> None:
    rule = recipe.parse(to_toml(recipe.Recipe("a", TYPES[0], FileType.GUESSED, (Rule(TYPES[1], literal(name)),))), "a")
    (read,) = rule.rules
    assert [read.names(tensor) for tensor in model_of(name, "x.weight", "blk.0.weight").tensors] == [True, False, False]


# --- memory ------------------------------------------------------------------------------------------------------


def test_memory_is_counted_by_hand(tmp_path: Path) -> None:
    model = open_model(synthetic.small(tmp_path))
    taken = memory_besides_file(model, context=100)
    layers, key_value_heads, head_width = 2, 2, 16
    assert taken.cache == 100 * layers * 2 * key_value_heads * head_width * 2
    assert taken.buffers == 100 * 4 * (synthetic.VOCABULARY + 4 * 64 + 2 * 96)
    assert memory_besides_file(model).context == 128

"""A plan knows every type, size and offset of a file before a weight is read."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.errors import InputError, UsageError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.formats.gguf.layout import text
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from tests import checkpoints
from tests.golden.recipes.cases import Case, unread


def model_of(*tensors: Tensor, path: str = "model.safetensors") -> Model:
    return Model(Path(path), None, {"general.name": text("made up")}, list(tensors), is_gguf=path.endswith(".gguf"))


def tensor(name: str, shape: tuple[int, ...], type_: GgmlType = GgmlType.F32) -> Tensor:
    return Tensor(name, shape, type_, unread, f"model.safetensors: tensor '{name}'")


def only_step(source: Tensor, mix: str, path: str = "model.safetensors") -> plan.Step:
    (step,) = plan.make(model_of(source, path=path), recipe.named(mix)).steps
    return step


def assert_written_as_planned(made: plan.Plan, path: Path) -> None:
    writing.write({path: made}, Threads(2))
    file = read_gguf(path)
    assert path.stat().st_size == made.nbytes
    assert [(s.tensor.name, s.type.name, s.offset, s.nbytes) for s in made.steps] == [
        (t.name, t.dtype, t.offset, t.nbytes) for t in file.tensors
    ]
    assert list(made.metadata) == list(file.metadata)


@pytest.mark.parametrize("mix", ["f32", "bf16", "q8_0", "q4_k_m", "q6_k"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_file_is_what_the_plan_says_to_the_byte(family: str, mix: str, tmp_path: Path) -> None:
    model = open_model(checkpoints.build(family, tmp_path / "model"))
    assert_written_as_planned(plan.make(model, recipe.named(mix)), tmp_path / "out.gguf")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.lists(st.integers(0, 12), max_size=3).map(lambda outer: (*outer, 32)), max_size=5),
    mix=st.sampled_from(["f32", "f16", "q8_0", "q4_0"]),
)
def test_any_shapes_become_the_file_the_plan_says(
    shapes: list[tuple[int, ...]], mix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tensors = [from_array(f"{index}.weight", np.ones(shape, np.float32)) for index, shape in enumerate(shapes)]
    path = tmp_path_factory.mktemp("any") / "out.gguf"
    assert_written_as_planned(plan.make(model_of(*tensors), recipe.named(mix)), path)


def test_nothing_is_read_to_plan() -> None:
    made = plan.make(Case().model(), recipe.named("q4_k_m"))
    assert len(made.steps) == len(list(Case().shapes()))
    assert made.weights == 256 * (2 * 64 + 1) + 12 * 256 * (2 * 256 + 2 * 64 + 3 * 512 + 2)
    assert made.bits_per_weight == 8 * sum(step.nbytes for step in made.steps) / made.weights
    assert list(made.types.values()) == sorted(made.types.values(), reverse=True)


def test_every_step_has_a_reason() -> None:
    reasons = {step.tensor.name: step.reason for step in plan.make(Case().model(), recipe.named("q4_k_m")).steps}
    assert reasons["output.weight"] == "q4_k_m: output"
    assert reasons["blk.0.attn_q.weight"] == "q4_k_m: default"
    assert reasons["blk.0.attn_v.weight"] == "q4_k_m: attention_value, layers = ends_and_thirds"
    assert reasons["blk.0.attn_norm.weight"] == "a vector, kept as it is"
    assert all(reasons.values())


@pytest.mark.parametrize(("columns", "type_"), [(256, "Q4_K"), (288, "Q5_0"), (100, "F16")])
def test_columns_that_fill_no_blocks_get_the_stand_in_and_the_reason(columns: int, type_: str) -> None:
    step = only_step(tensor("a.weight", (2, columns)), "q4_k")
    expected = "" if columns == 256 else f"; {columns} columns do not fill q4_k blocks of 256"
    assert (step.type.name, step.reason) == (type_, f"q4_k: default{expected}")


def test_a_file_that_is_mostly_of_stand_ins_is_said_to_be_so() -> None:
    narrow, wide = tensor("a.weight", (96, 288)), tensor("b.weight", (32, 512))
    made = plan.make(model_of(narrow, wide), recipe.named("q4_k"))
    assert [step.replaces for step in made.steps] == [GgmlType.Q4_K, None]
    said = plan.stand_ins(made)
    assert said is not None
    assert said.startswith("q4_k: 63 % of the weights are in larger types, most of them in q5_0, as rows of 288 do not")
    assert plan.stand_ins(plan.make(model_of(wide), recipe.named("q4_k"))) is None


def test_the_metadata_names_the_mix() -> None:
    made = plan.make(Case().model(), recipe.named("q5_k_m"))
    assert made.metadata["general.file_type"].data == FileType.Q5_K_M
    assert made.metadata["general.quantization_version"].data == 2


@pytest.mark.parametrize(
    ("type_", "path", "mix", "expected"),
    [
        (GgmlType.BF16, "model.safetensors", "q8_0", GgmlType.F32),
        (GgmlType.F16, "model.safetensors", "f16", GgmlType.F32),
        (GgmlType.BF16, "model.gguf", "q8_0", GgmlType.BF16),
        (GgmlType.F16, "model.gguf", "f32", GgmlType.F32),
        (GgmlType.I32, "model.safetensors", "q8_0", GgmlType.I32),
        (GgmlType.F64, "model.gguf", "f32", GgmlType.F64),
    ],
)
def test_vectors_are_kept_as_the_converter_keeps_them(type_: GgmlType, path: str, mix: str, expected: GgmlType) -> None:
    assert only_step(tensor("a.bias", (32,), type_), mix, path).type is expected


@pytest.mark.parametrize(
    ("type_", "says"),
    [(GgmlType.Q8_0, "already q8_0, not f32, f16 or bf16"), (GgmlType.F64, "'a.weight': f64, not f32")],
)
def test_what_is_no_float_is_not_quantized(type_: GgmlType, says: str) -> None:
    with pytest.raises(InputError, match=says):
        only_step(tensor("a.weight", (2, 256), type_), "q4_k", "model.gguf")


def test_blocks_of_the_wanted_type_are_kept() -> None:
    assert only_step(tensor("a.weight", (2, 256), GgmlType.Q8_0), "q8_0", "model.gguf").type is GgmlType.Q8_0


def test_a_type_that_cannot_be_written_is_named_with_those_that_can() -> None:
    with pytest.raises(InputError, match=r"tensor 'a\.weight': writing q8_1 is not supported") as caught:
        only_step(tensor("a.weight", (2, 256)), "q8_1")
    assert caught.value.hint is not None
    assert "q4_k" in caught.value.hint


def test_types_of_few_bits_are_refused_without_importance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.plugins, "names", lambda package: ("iq2_xs",))
    with pytest.raises(InputError, match=r"tensor 'a\.weight': iq2_xs needs an importance matrix") as caught:
        only_step(tensor("a.weight", (2, 256)), "iq2_xs")
    assert "--imatrix" in str(caught.value.hint)
    costs = {"a.weight": np.ones((1, 256), np.float32)}
    made = plan.make(model_of(tensor("a.weight", (2, 256))), recipe.named("iq2_xs"), costs)
    assert made.steps[0].type is GgmlType.IQ2_XS


@pytest.mark.parametrize("pattern", ["nothing", "blk.*.attn_norm.weight"])
def test_an_override_that_names_nothing_is_refused(pattern: str) -> None:
    chosen = recipe.replace(recipe.named("q4_k_m"), overrides=(recipe.override(f"{pattern}=q8_0"),))
    with pytest.raises(UsageError, match="matches no tensor that is quantized"):
        plan.make(Case().model(), chosen)


def test_a_pattern_of_what_is_kept_is_told_so() -> None:
    chosen = recipe.replace(recipe.named("q4_k_m"), overrides=(recipe.override("*.0.attn_norm*=q8_0"),))
    with pytest.raises(UsageError) as caught:
        plan.make(Case().model(), chosen)
    assert caught.value.hint == "'blk.0.attn_norm.weight' is kept as it is: a vector"


def test_a_regular_expression_is_told_that_patterns_are_globs() -> None:
    chosen = recipe.replace(recipe.named("q4_k_m"), overrides=(recipe.override(r"blk\.\d+\.attn_v=q8_0"),))
    with pytest.raises(UsageError) as caught:
        plan.make(Case().model(), chosen)
    assert "'*blk.*.attn_v*' matches 12" in str(caught.value.hint)


def test_rules_that_name_nothing_are_told() -> None:
    rules = 'rule = [{ tensors = "^blk.*$", type = "q8_0" }, { tensors = "blk.*", type = "q8_0" }]'
    found = recipe.parse(f'default = "q4_k"\n{rules}', "mine")
    (said,) = plan.idle_rules(found, Case().model())
    assert said.startswith("recipe mine: '^blk.*$' matches no tensor that is quantized; patterns are globs")
    assert plan.idle_rules(recipe.named("q4_k_m"), Case().model()) == []


def test_weights_that_an_importance_lacks_are_named() -> None:
    model = Case(layers=2).model()
    every = {it.name: np.ones((1, it.columns), np.float32) for it in model.tensors if it.name != "output.weight"}
    lacking = {name: costs for name, costs in every.items() if name != "blk.1.ffn_up.weight"}
    made = plan.make(model, recipe.named("q4_k_m"), every)
    assert (plan.unweighted(made, every), plan.unweighted(made, lacking)) == ([], ["blk.1.ffn_up.weight"])
    as_floats = plan.make(model, recipe.named("f16"), lacking)
    assert plan.unweighted(as_floats, lacking) == []


def test_a_type_of_few_bits_says_that_the_matrix_given_has_no_entry() -> None:
    costs = {"b.weight": np.ones((1, 256), np.float32)}
    provenance = {"quantize.imatrix.file": text("i.gguf")}
    with pytest.raises(InputError) as caught:
        plan.make(model_of(tensor("a.weight", (2, 256))), recipe.named("iq2_xxs"), costs, provenance)
    assert str(caught.value) == (
        "tensor 'a.weight': iq2_xxs needs an importance matrix, and 'i.gguf' has no entry for it"
    )
    assert "--tensor a.weight=q4_k" in str(caught.value.hint)


@pytest.mark.parametrize("shape", [(1,) * 5, (1, 2, 3, 4, 32)])
def test_more_dimensions_than_a_gguf_file_holds_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="5 dimensions"):
        plan.make(model_of(tensor("a.weight", shape)), recipe.named("f32"))


def test_a_name_no_gguf_file_holds_is_refused() -> None:
    with pytest.raises(FormatError, match="64"):
        plan.make(model_of(tensor("a" * 64, (2, 32))), recipe.named("f32"))

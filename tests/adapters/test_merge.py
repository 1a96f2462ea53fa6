"""Merged models: rows that are computed when they are read, converted like any others."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.adapters.adapter import Adapter
from quantize_cli.adapters.gguf import write_gguf_adapter
from quantize_cli.adapters.merge import merged, with_adapter
from quantize_cli.adapters.peft import write_peft
from quantize_cli.errors import InputError, UsageError
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import from_array
from quantize_cli.pipeline import convert, plan, plan_conversion, plan_json, recipe
from quantize_cli.pipeline.job import Job
from quantize_cli.pipeline.quantize import RowRange, blocks_of
from tests import checkpoints
from tests.adapters.adapters import adapter_for
from tests.cli.console import assert_refused, quantize, succeeded


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.build("llama", tmp_path_factory.mktemp("llama") / "m", dtype="BF16")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return open_model(checkpoint)


def matrix(model: Model, name: str = "blk.0.attn_q.weight") -> np.ndarray:
    tensor = next(tensor for tensor in model.tensors if tensor.name == name)
    return tensor.read(0, tensor.row_count).astype(np.float32)


def test_a_merged_matrix_is_itself_plus_its_term(model: Model) -> None:
    term = adapter_for(model).terms["blk.0.attn_q.weight"]
    expected = matrix(model).astype(np.float64) + term.scale * term.b.astype(np.float64) @ term.a
    np.testing.assert_allclose(matrix(merged(model, adapter_for(model))), expected, rtol=0, atol=1e-5)


def test_rows_are_the_same_however_they_are_read(model: Model) -> None:
    tensor = next(t for t in merged(model, adapter_for(model)).tensors if t.name == "blk.0.ffn_up.weight")
    whole = tensor.read(0, tensor.row_count)
    parts = [tensor.read(start, min(start + 7, tensor.row_count)) for start in range(0, tensor.row_count, 7)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_merged_step_is_a_value(model: Model) -> None:
    made = plan.make(merged(model, adapter_for(model)), recipe.named("q4_0"))
    again = plan_json.from_json(plan_json.to_json(made))
    assert again == made
    for steps in (again.steps, pickle.loads(pickle.dumps(made.steps))):
        for step, other in zip(made.steps, steps, strict=True):
            first, second = (blocks_of(RowRange(it, 0, it.tensor.row_count)) for it in (step, other))
            assert first.tobytes() == second.tobytes()


def test_a_factor_weakens_every_term(model: Model, tmp_path: Path) -> None:
    write_gguf_adapter(tmp_path / "a.gguf", adapter_for(model))
    half = matrix(with_adapter(model, tmp_path / "a.gguf", 0.5)) - matrix(model)
    whole = matrix(with_adapter(model, tmp_path / "a.gguf")) - matrix(model)
    np.testing.assert_allclose(2 * half, whole, atol=1e-5)


def test_a_float_file_merges_as_its_checkpoint_does(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    write_peft(tmp_path / "a", adapter_for(model), model)
    convert(Job(checkpoint, output=tmp_path / "float.gguf", type="bf16"))
    for source in (checkpoint, tmp_path / "float.gguf"):
        convert(Job(source, lora=(str(tmp_path / "a"),), output=tmp_path / f"{source.name}-q.gguf", type="q4_0"))
    first, second = (read_gguf(path).tensors for path in sorted(tmp_path.glob("*-q.gguf")))
    assert [(t.name, t.rows(0, t.row_count).tobytes()) for t in first] == [
        (t.name, t.rows(0, t.row_count).tobytes()) for t in second
    ]


def test_the_command_merges_several(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    write_peft(tmp_path / "a", adapter_for(model), model)
    write_gguf_adapter(tmp_path / "b.gguf", adapter_for(model))
    options = ("--type", "f32", "-o", "out.gguf", "--lora", "a:0.25", "--lora", "b.gguf:0.75")
    succeeded("convert", checkpoint, *options, cwd=tmp_path)
    expected = matrix(merged(model, adapter_for(model)))
    np.testing.assert_allclose(matrix(open_model(tmp_path / "out.gguf")), expected, atol=1e-5)


def test_an_adapter_that_changes_meanwhile_is_noticed(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    write_peft(tmp_path / "a", adapter_for(model), model)
    planned = plan_conversion(Job(checkpoint, lora=(str(tmp_path / "a"),)))
    assert {path.name for path in planned.plan.sources} > {"adapter_model.safetensors", "adapter_config.json"}


def test_an_output_does_not_replace_the_adapter(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    write_gguf_adapter(tmp_path / "a.gguf", adapter_for(model))
    path = tmp_path / "a.gguf"
    assert_refused(quantize("convert", checkpoint, "--lora", path, "-o", path, "-f"), 4, "is an input itself")


@pytest.mark.parametrize(("lora", "message"), [("a:nan", "not PATH or PATH:SCALE"), (":2", "not PATH or PATH:SCALE")])
def test_a_scale_that_is_none_is_refused(lora: str, message: str, checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=message):
        plan_conversion(Job(checkpoint, lora=(lora,)))


def test_a_missing_adapter_is_named(checkpoint: Path) -> None:
    assert_refused(quantize("plan", checkpoint, "--lora", "nowhere:0.5"), 3, "nowhere")


def test_a_certificate_of_a_merged_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abc")
    assert_refused(quantize("convert", checkpoint, "--lora", "a", "--certify", text), 2, "--certify and --lora")


def test_an_adapter_for_something_else_is_refused(model: Model) -> None:
    terms = adapter_for(model).terms
    with pytest.raises(InputError, match=r"an adapter for architecture 'qwen2', .* is of 'llama'"):
        merged(model, Adapter("qwen2", terms))
    with pytest.raises(InputError, match=r"changes tensor 'blk\.9\.attn_q\.weight', which .* does not have"):
        merged(model, Adapter("llama", {"blk.9.attn_q.weight": terms["blk.0.attn_q.weight"]}))


def test_an_alpha_beyond_float32_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match=r"ffn_down\.weight' times alpha 1\.2e\+40: -?inf at row 0"):
        merged(model, adapter_for(model).times(1e39))


def test_quantized_weights_take_no_adapter(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    convert(Job(checkpoint, output=tmp_path / "m.gguf", type="q8_0"))
    with pytest.raises(InputError, match="q8_0, an adapter is merged into f32, f16 or bf16"):
        merged(open_model(tmp_path / "m.gguf"), adapter_for(model))


def test_factors_that_do_not_fit_are_a_fault_of_ours() -> None:
    tensor = from_array("x", np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="for 4 rows of 3"):
        tensor.plus(np.ones((4, 2), np.float32), np.ones((3, 3), np.float32))

"""What other tools quantized goes into GGML blocks with the same codes where it fits, and the plan says so."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.budget.rules import to_toml
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan, plan_json, recipe
from quantize_cli.pipeline.plan import Step
from tests.schemes import quantized
from tests.schemes.quantized import ROWS, TARGET, Stored
from tests.schemes.test_bitsandbytes import int8
from tests.schemes.test_gptq import gptq, settings


def step(directory: Path, stored: Stored, type_: str, bits: int = 4) -> Step:
    """What a plan makes of a matrix."""
    quantized.build(directory, stored.parts, settings(bits))
    return next(s for s in plan.make(open_model(directory), recipe.named(type_)).steps if s.tensor.name == TARGET)


@pytest.mark.parametrize(
    ("bits", "symmetric", "type_"),
    [
        (4, True, "q4_0"), (4, True, "q8_0"), (4, False, "q5_0"), (4, False, "q8_0"), (3, False, "q4_0"),
        (2, False, "q4_0"), (8, True, "q8_0"),
    ],
)  # fmt: skip
def test_levels_within_a_types_own_are_repacked_without_loss(
    bits: int, symmetric: bool, type_: str, tmp_path: Path
) -> None:
    stored = gptq(bits, symmetric=symmetric)
    made = step(tmp_path, stored, type_, bits)
    assert made.reason == f"{type_}: default; repacked from gptq, {bits} bits, without loss"
    assert made.type is made.tensor.type is GgmlType[type_.upper()]
    blocks = quantized.read_in_parts(made.tensor)
    assert np.array_equal(quants.decode(made.type, blocks), stored.weights)


def test_a_minimum_that_is_no_half_is_rounded_and_the_plan_says_how_far(tmp_path: Path) -> None:
    stored = gptq(4)
    made = step(tmp_path, stored, "q4_1")
    assert made.reason.startswith("q4_1: default; repacked from gptq, 4 bits, minima rounded to f16, by ")
    weights = quants.decode(made.type, made.tensor.read(0, ROWS))
    largest = np.abs(stored.parts[".scales"].astype(np.float32)).max() * 15
    assert 0 < np.abs(weights - stored.weights).max() <= largest * 2.0**-11


@pytest.mark.parametrize(
    ("stored", "type_"),
    [(gptq(4), "q4_0"), (gptq(8), "q8_0"), (gptq(4, symmetric=True, act_order=True), "q4_0"),
     (gptq(4, symmetric=True, group=16), "q4_0"), (gptq(4, symmetric=True), "iq4_nl")],
    ids=["zeros", "eight bits", "act-order", "small groups", "another type"],
)  # fmt: skip
def test_what_does_not_fit_is_dequantized(stored: Stored, type_: str, tmp_path: Path) -> None:
    bits = stored.parts[".qweight"].shape[0] // 2
    quantized.build(tmp_path, stored.parts, {"quant_method": "gptq", "bits": bits})
    made = next(s for s in plan.make(open_model(tmp_path), recipe.named(type_)).steps if s.tensor.name == TARGET)
    assert made.reason.endswith(f"; dequantized from gptq, {bits} bits, rounded again")
    assert np.array_equal(made.tensor.read(0, ROWS), stored.weights)


def test_scales_beyond_halves_are_not_repacked(tmp_path: Path) -> None:
    stored = gptq(4, symmetric=True)
    parts = {**stored.parts, ".scales": np.full(stored.parts[".scales"].shape, 1e6, np.float32)}
    assert step(tmp_path, Stored(parts, stored.weights), "q4_0").reason.endswith("rounded again")


def test_bfloat16_says_that_it_rounds(tmp_path: Path) -> None:
    assert step(tmp_path, gptq(4), "f32").reason == "f32: default; dequantized from gptq, 4 bits"
    assert step(tmp_path, gptq(4), "bf16").reason == "bf16: default; dequantized from gptq, 4 bits, rounded again"


def test_int8_goes_to_q8_0_with_scales_of_sixteen_bits(tmp_path: Path) -> None:
    stored = int8()
    quantized.build(tmp_path, stored.parts, {"quant_method": "bitsandbytes", "load_in_8bit": True})
    made = next(s for s in plan.make(open_model(tmp_path), recipe.named("q8_0")).steps if s.tensor.name == TARGET)
    assert "; repacked from bitsandbytes, int8, scales rounded to f16, by " in made.reason
    weights = quants.decode(made.type, made.tensor.read(0, ROWS))
    assert np.allclose(weights, stored.weights, rtol=2.0**-11, atol=0)


@pytest.mark.parametrize(("symmetric", "kept"), [(True, GgmlType.Q4_0), (False, GgmlType.Q5_0)])
def test_keep_takes_the_smallest_type_that_loses_nothing(symmetric: bool, kept: GgmlType, tmp_path: Path) -> None:
    made = step(tmp_path, gptq(4, symmetric=symmetric), "keep")
    assert (made.type, made.reason) == (kept, "keep: as it is stored; repacked from gptq, 4 bits, without loss")
    act_order = step(tmp_path, gptq(4, act_order=True), "keep")
    assert act_order.reason == "keep: default; dequantized from gptq, 4 bits, rounded again"
    assert act_order.type is GgmlType.F16


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_keep_leaves_floats_in_their_type(dtype: str, tmp_path: Path) -> None:
    quantized.build(tmp_path, gptq(4).parts, settings(4), dtype=dtype)
    types = {s.tensor.name: s.type for s in plan.make(open_model(tmp_path), recipe.named("keep")).steps}
    assert types["token_embd.weight"] is GgmlType[dtype]


def test_a_saved_keep_is_keep() -> None:
    kept = recipe.named("keep")
    assert recipe.parse(to_toml(kept), "keep") == kept
    with pytest.raises(InputError, match="keep = '1' is neither true nor false"):
        recipe.parse('default = "f16"\nkeep = 1', "mine")


def test_rotary_rows_are_reordered_as_blocks(tmp_path: Path) -> None:
    stored = gptq(4, symmetric=True)
    codes, zeros, scales = (
        stored.parts[part][:, :n] for part, n in ((".qweight", 64), (".qzeros", 8), (".scales", 64))
    )
    name = "model.layers.0.self_attn.q_proj"
    parts = {".qweight": codes, ".qzeros": zeros, ".scales": scales}
    tensors = {f"{name}.weight": None, **{name + ending: values for ending, values in parts.items()}}
    quantized.checkpoints.build("llama", tmp_path, tensors=tensors, config={"quantization_config": settings(4)})
    model = open_model(tmp_path)
    made = next(s for s in plan.make(model, recipe.named("q4_0")).steps if s.tensor.name == "blk.0.attn_q.weight")
    assert made.reason.endswith("without loss")
    floats = quantized.matrix(model, "blk.0.attn_q.weight").read(0, 64)
    assert np.array_equal(quants.decode(made.type, quantized.read_in_parts(made.tensor)), floats)
    assert not np.array_equal(floats, stored.weights[:64])


@pytest.mark.parametrize("type_", ["q4_0", "q4_k"])
def test_a_plan_prints_and_pickles(type_: str, tmp_path: Path) -> None:
    quantized.build(tmp_path, gptq(4, symmetric=True).parts, settings(4))
    made = plan.make(open_model(tmp_path), recipe.named(type_))
    text = plan_json.to_json(made)
    json.loads(text)
    assert plan_json.from_json(text).steps == made.steps
    assert pickle.loads(pickle.dumps(made.steps)) == made.steps

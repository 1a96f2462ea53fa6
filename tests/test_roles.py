"""What a tensor is for is read from its name; what a model is, from metadata that may be hostile."""

import numpy as np
import pytest

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, text, u32
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.roles import ROLES, facts_of, layer_of, role_of, why_kept
from tests.golden.recipes.cases import unread


def tensor(name: str, shape: tuple[int, ...] = (4, 32)) -> Tensor:
    return Tensor(name, shape, GgmlType.F32, unread, name)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("output.weight", "output"),
        ("token_embd.weight", "embedding"),
        ("per_layer_token_embd.weight", "embedding"),
        ("blk.3.attn_qkv.weight", "attention_value"),
        ("blk.3.attn_kv_b.weight", "attention_value"),
        ("blk.3.attn_v.weight", "attention_value"),
        ("blk.3.attn_k.weight", "attention_key"),
        ("blk.3.attn_q.weight", "attention_query"),
        ("blk.3.attn_output.weight", "attention_output"),
        ("blk.3.ffn_up_exps.weight", "ffn_up"),
        ("blk.3.ffn_gate_shexp.weight", "ffn_gate"),
        ("blk.3.ffn_down.weight", "ffn_down"),
        ("blk.3.attn_kv_a_mqa.weight", "other"),
        ("cls.weight", "other"),
    ],
)
def test_a_name_says_the_role(name: str, role: str) -> None:
    assert role in ROLES
    assert role_of(name, tied=False) == role


def test_a_tied_embedding_does_the_work_of_the_output() -> None:
    assert role_of("token_embd.weight", tied=True) == "output"


@pytest.mark.parametrize(
    ("name", "layer"),
    [("blk.0.attn_q.weight", 0), ("blk.79.x", 79), ("output.weight", -1), ("blk.x", -1), ("a.blk.3.x", -1)],
)
def test_a_name_says_the_layer(name: str, layer: int) -> None:
    assert layer_of(name) == layer


def test_a_layer_number_as_long_as_a_name_is_no_number() -> None:
    assert layer_of(f"blk.{'9' * 50}.x") == -1


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("blk.0.attn_q.weight", (4, 32), None),
        ("blk.0.ffn_up_exps.weight", (2, 4, 32), None),
        ("blk.0.attn_norm.weight", (32,), "a vector"),
        ("x.weight", (1, 1, 32), "a vector"),
        ("x.weight", (), "a vector"),
        ("blk.0.attn_q.bias", (4, 32), "not a weight matrix"),
        ("blk.0.ffn_gate_inp.weight", (4, 32), "small and sensitive"),
        ("position_embd.weight", (4, 32), "small and sensitive"),
    ],
)
def test_matrices_are_quantized_unless_they_are_touchy(name: str, shape: tuple[int, ...], reason: str | None) -> None:
    assert why_kept(tensor(name, shape)) == reason


def facts(values: dict[str, Value], *names: str) -> tuple[int, int, int, bool]:
    found = facts_of({"general.architecture": text("llama"), **values}, [tensor(name) for name in names])
    return found.layers, found.grouped_heads, found.experts, found.tied


def test_facts_are_those_the_metadata_states() -> None:
    values = {"llama.block_count": u32(12), "llama.attention.head_count": u32(32), "llama.expert_count": u32(8)}
    grouped = {**values, "llama.attention.head_count_kv": u32(4)}
    assert facts(values, "output.weight") == (12, 1, 8, False)
    assert facts(grouped, "token_embd.weight") == (12, 8, 8, True)


@pytest.mark.parametrize("heads", [np.array([2, 16], np.uint32), [2, 16]])
def test_where_layers_differ_the_first_speaks(heads: object) -> None:
    counts = {"llama.attention.head_count": array(ValueType.UINT32, [8, 8])}
    counts["llama.attention.head_count_kv"] = Value(ValueType.ARRAY, heads, ValueType.UINT32)
    assert facts(counts)[1] == 4


@pytest.mark.parametrize(
    "value",
    [text("many"), text(""), f32(float("nan")), array(ValueType.STRING, ["x"]), array(ValueType.UINT32, np.array([]))],
)
def test_metadata_that_is_no_number_counts_as_none(value: Value) -> None:
    assert facts({"llama.block_count": value, "llama.attention.head_count": value}) == (0, 0, 0, True)


def test_a_model_that_says_nothing_has_no_facts() -> None:
    found = facts_of({}, [])
    assert (found.architecture, found.layers, found.seventy_billion) == (None, 0, False)

"""What a tensor is for, read from its GGUF name, and the few facts of a model that a recipe's rules ask about."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

_LAYER = re.compile(r"blk\.(\d{1,9})\.")

_ROLES = (
    ("attention_value", ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")),
    ("attention_key", ("attn_k.weight",)),
    ("attention_query", ("attn_q.weight",)),
    ("attention_output", ("attn_output.weight",)),
    ("ffn_up", ("ffn_up",)),
    ("ffn_gate", ("ffn_gate",)),
    ("ffn_down", ("ffn_down",)),
)
"""First match wins; a fused query-key-value matrix counts as a value matrix (llama-quant.cpp)."""

ROLES = ("output", "embedding", *(role for role, _ in _ROLES), "other")

_NEVER_QUANTIZED = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight",
    "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
    "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
)  # fmt: skip
"""Parts of names of matrices that are small and touchy (tensor_allows_quantization)."""

_NEVER_QUANTIZED_NAMES = frozenset({"position_embd.weight", "token_types.weight"})


@dataclass(frozen=True)
class ModelFacts:
    """What rules may ask of a model as a whole."""

    architecture: str | None
    layers: int
    grouped_heads: int
    """Query heads that share a key-value head in layer 0; 0 if there are no key-value heads."""
    experts: int
    tied: bool
    """The token embedding serves as output matrix too."""
    seventy_billion: bool
    """An 80-layer model whose key-value heads are few, so that more bits for them cost little."""


def facts_of(metadata: Mapping[str, Value], tensors: Sequence[Tensor]) -> ModelFacts:
    """The facts of a model, from its metadata: of layer 0 where layers differ, zeros where it says nothing."""
    architecture = metadata["general.architecture"].data if "general.architecture" in metadata else None

    def number(key: str) -> int:
        value = metadata.get(f"{architecture}.{key}")
        data = value.data if value is not None else 0
        first = data if isinstance(data, int) else next(iter(data), 0) if isinstance(data, list | np.ndarray) else 0
        return int(first) if isinstance(first, int | np.integer) else 0

    layers, heads = number("block_count"), number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    eighty = layers == 80 and architecture in ("llama", "qwen2", "deci", "olmo")
    return ModelFacts(
        architecture=architecture,
        layers=layers,
        grouped_heads=heads // kv_heads if kv_heads else 0,
        experts=number("expert_count"),
        tied=all(tensor.name != "output.weight" for tensor in tensors),
        seventy_billion=eighty and (architecture != "llama" or heads != kv_heads),
    )


def role_of(name: str, tied: bool) -> str:
    """One of ROLES. A tied token embedding has the output's role, for what it does last."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "output" if tied else "embedding"
    return next((role for role, parts in _ROLES if any(part in name for part in parts)), "other")


def layer_of(name: str) -> int:
    """The number of the layer a tensor belongs to, -1 for none."""
    match = _LAYER.match(name)
    return int(match[1]) if match else -1


def why_kept(tensor: Tensor) -> str | None:
    """Why a tensor is not to be quantized, or None when it is."""
    if len(_without_leading_ones(tensor.shape)) < 2:
        return "a vector"
    if not tensor.name.endswith("weight"):
        return "not a weight matrix"
    if tensor.name in _NEVER_QUANTIZED_NAMES or any(part in tensor.name for part in _NEVER_QUANTIZED):
        return "small and sensitive"
    return None


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as ggml counts dimensions: those of one in front are not there."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape

"""Small decoders with random weights, as GGUF files without a vocabulary: what the runtime is compared on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value, ValueType, array, f32, flag, text, u32
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.model.source import Model
from quantize_cli.quants import decode
from quantize_cli.runtime.family import FAMILIES, Family
from tests import oracle

VOCABULARY = 96


@dataclass(frozen=True)
class Decoder:
    """What to build: by default a small decoder with fewer key-value heads than heads and an output of its own."""

    architecture: str
    width: int = 64
    heads: int = 4
    key_value_heads: int = 2
    head_width: int = 16
    layers: int = 2
    feed_forward: int = 96
    context: int = 128
    tied: bool = False
    biased: bool = False
    fused: bool = False
    rotary_divisors: bool = False
    """The file holds `rope_freqs`."""
    long_divisors: int = 0
    """The file holds `rope_factors_short` and `rope_factors_long`, of so many pairs."""
    experts: int = 0
    expert_feed_forward: int = 48
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """More keys, without the architecture in front, as u32, f32, bool, string or bools; None leaves one out."""


def weights(decoder: Decoder) -> dict[str, np.ndarray]:
    """Every tensor by its GGUF name, float32, scaled so that activations stay near one."""
    random = np.random.default_rng(0)
    shapes = _shapes(decoder)
    made = {name: random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in made:
        if "norm" in name and name.endswith("weight"):
            made[name] = (1 + 0.2 * random.normal(size=shapes[name])).astype(np.float32)
    if decoder.rotary_divisors:
        made["rope_freqs.weight"] = np.linspace(1, 8, decoder.head_width // 2, dtype=np.float32)
    if decoder.long_divisors:
        made["rope_factors_short.weight"] = np.linspace(1, 2, decoder.long_divisors, dtype=np.float32)
        made["rope_factors_long.weight"] = np.linspace(1, 8, decoder.long_divisors, dtype=np.float32)
    return made


def write(
    path: Path,
    decoder: Decoder,
    tensors: Mapping[str, np.ndarray],
    type_of: Callable[[str], GgmlType] = lambda name: GgmlType.F32,
) -> Path:
    """The file, with each matrix in the type `type_of` gives its name; vectors stay float32."""
    return _write(path, metadata(decoder), tensors, type_of)


def small(folder: Path, **changes: Any) -> Path:
    """A Llama with something else about it."""
    decoder = replace(Decoder("llama"), **changes)
    return write(folder / "model.gguf", decoder, weights(decoder))


def rewrite(model: Model, path: Path, type_: GgmlType) -> Path:
    """Any model as a file whose matrices are all of one type."""
    tensors = {
        tensor.name: decode(tensor.type, tensor.read(0, tensor.row_count)).reshape(tensor.shape)
        for tensor in model.tensors
    }
    return _write(path, model.metadata, tensors, lambda name: type_)


def write_like(model: Model, path: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """Other tensors, as float32, with the metadata of a model."""
    return _write(path, model.metadata, tensors, lambda name: GgmlType.F32)


def _write(
    path: Path,
    metadata: Mapping[str, Value],
    tensors: Mapping[str, np.ndarray],
    type_of: Callable[[str], GgmlType],
) -> Path:
    types = {name: type_of(name) if values.ndim > 1 else GgmlType.F32 for name, values in tensors.items()}
    layout = lay_out(metadata, [TensorInfo(name, values.shape, types[name]) for name, values in tensors.items()])
    with path.open("wb") as file:
        file.write(layout.header)
        for offset, (name, values) in zip(layout.offsets, tensors.items(), strict=True):
            file.seek(offset)
            file.write(_stored(types[name], values).tobytes())
        file.truncate(layout.nbytes)
    return path


def _stored(type_: GgmlType, values: np.ndarray) -> np.ndarray:
    if type_ in (GgmlType.F32, GgmlType.F16):
        return values.astype(np.float16 if type_ == GgmlType.F16 else np.float32)
    return oracle.quantize(type_, values.reshape(-1, values.shape[-1]))


def tokens(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count)


def _family(decoder: Decoder) -> Family:
    return FAMILIES.get(decoder.architecture, Family())


def metadata(decoder: Decoder) -> dict[str, Value]:
    norm = "layer_norm_epsilon" if _family(decoder).layer_norms else "layer_norm_rms_epsilon"
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "context_length": decoder.context,
        "embedding_length": decoder.width,
        "block_count": decoder.layers,
        "feed_forward_length": decoder.feed_forward,
        "attention.head_count": decoder.heads,
        "attention.head_count_kv": decoder.key_value_heads,
        "attention.key_length": decoder.head_width,
        "attention.value_length": decoder.head_width,
        f"attention.{norm}": 1e-5,
        **({"expert_count": decoder.experts, "expert_used_count": 2} if decoder.experts else {}),
        **decoder.metadata,
    }
    make: dict[type, Callable[[Any], Value]] = {int: u32, float: f32, str: text, bool: flag, list: _flags}
    said = {key: make[type(value)](value) for key, value in common.items() if value is not None}
    prefixed = {f"{decoder.architecture}.{key}": value for key, value in said.items()}
    return {"general.architecture": text(decoder.architecture), "tokenizer.ggml.model": text("no_vocab"), **prefixed}


def _flags(truths: list[bool]) -> Value:
    return array(ValueType.BOOL, truths)


def _shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    width = decoder.width
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, width), "output_norm.weight": (width,)}
    if _family(decoder).learned_positions:
        shapes["position_embd.weight"] = (decoder.context, width)
    if _family(decoder).layer_norms:
        shapes["output_norm.bias"] = (width,)
    if not decoder.tied:
        shapes["output.weight"] = (VOCABULARY, width)
    for layer in range(decoder.layers):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in _block_shapes(decoder).items()}
    return shapes


def _block_shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    width, inner = decoder.width, decoder.feed_forward
    query, key = decoder.heads * decoder.head_width, decoder.key_value_heads * decoder.head_width
    matrices = {"attn_q": (query, width), "attn_k": (key, width), "attn_v": (key, width)}
    if decoder.fused:
        matrices = {"attn_qkv": (query + 2 * key, width)}
    norms, family = {"attn_norm": width, "ffn_norm": width}, _family(decoder)
    if family.head_norms:
        norms |= {"attn_q_norm": decoder.head_width, "attn_k_norm": decoder.head_width}
    if family.post_norms:
        norms |= {"post_attention_norm": width, "post_ffw_norm": width}
    biased = list(matrices) if decoder.biased else []
    matrices |= {"attn_output": (width, query)}
    matrices |= _expert_shapes(decoder) if decoder.experts else {"ffn_up": (inner, width), "ffn_down": (width, inner)}
    if family.layer_norms:
        biased = [*matrices, *norms]
    elif family.gate_in_up:
        matrices["ffn_up"] = (2 * inner, width)
    elif not decoder.experts:
        matrices["ffn_gate"] = (inner, width)
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in matrices.items()}
    shapes |= {f"{name}.weight": (size,) for name, size in norms.items()}
    return shapes | {f"{name}.bias": shapes[f"{name}.weight"][:1] for name in biased}


def _expert_shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    width, inner, count = decoder.width, decoder.expert_feed_forward, decoder.experts
    if decoder.architecture == "llama":
        inner = decoder.feed_forward
    found: dict[str, tuple[int, ...]] = {"ffn_gate_inp": (count, width), "ffn_down_exps": (count, width, inner)}
    found |= {"ffn_gate_exps": (count, inner, width), "ffn_up_exps": (count, inner, width)}
    if decoder.architecture == "qwen2moe":
        shared = decoder.feed_forward
        found |= {"ffn_gate_shexp": (shared, width), "ffn_up_shexp": (shared, width), "ffn_down_shexp": (width, shared)}
        found["ffn_gate_inp_shexp"] = (1, width)
    return found

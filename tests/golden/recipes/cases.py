"""Models that llama-quantize was asked about: metadata and shapes, small but of every kind its rules tell apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value, f32, text, u32
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor

MIXES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k")


def unread(start: int, stop: int) -> np.ndarray:
    raise AssertionError("a plan reads no weights")


@dataclass(frozen=True)
class Case:
    """A model of one shape, and what is asked for besides the mix."""

    architecture: str = "llama"
    layers: int = 12
    heads: int = 8
    kv_heads: int = 2
    hidden: int = 256
    inner: int = 512
    experts: int = 0
    tied: bool = False
    fused: bool = False
    """Queries, keys and values in one matrix, and no gate."""
    pure: bool = False
    overrides: tuple[tuple[str, str, str], ...] = ()
    """Our pattern, llama-quantize's, and the type."""

    def model(self) -> Model:
        """As a GGUF file of float32 tensors would be opened; nothing of it can be read."""
        tensors = [Tensor(name, shape, GgmlType.F32, unread, name) for name, shape in self.shapes()]
        return Model(Path("case.gguf"), self.architecture, self.metadata(), tensors, is_gguf=True)

    def metadata(self) -> dict[str, Value]:
        numbers = {
            "block_count": self.layers, "context_length": 64, "embedding_length": self.hidden,
            "feed_forward_length": self.inner, "expert_feed_forward_length": self.inner, "vocab_size": 64,
            "attention.head_count": self.heads, "attention.head_count_kv": self.kv_heads,
            "expert_count": self.experts, "expert_used_count": min(2, self.experts),
        }  # fmt: skip
        norms = dict.fromkeys(("layer_norm_epsilon", "layer_norm_rms_epsilon"), f32(1e-5))
        stated = {key: u32(number) for key, number in numbers.items()} | {f"attention.{k}": v for k, v in norms.items()}
        return {
            "general.architecture": text(self.architecture),
            **{f"{self.architecture}.{key}": value for key, value in stated.items()},
        }

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "token_embd.weight", (64, self.hidden)
        if self.architecture == "gpt2":
            yield "position_embd.weight", (64, self.hidden)
        yield "output_norm.weight", (self.hidden,)
        if not self.tied:
            yield "output.weight", (64, self.hidden)
        for layer in range(self.layers):
            for name, shape in self._block():
                yield f"blk.{layer}.{name}.weight", shape

    def _block(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        keys = self.hidden // self.heads * self.kv_heads
        yield "attn_norm", (self.hidden,)
        if self.fused:
            yield "attn_qkv", (self.hidden + 2 * keys, self.hidden)
        else:
            yield "attn_q", (self.hidden, self.hidden)
            yield "attn_k", (keys, self.hidden)
            yield "attn_v", (keys, self.hidden)
            yield "ffn_norm", (self.hidden,)
        yield "attn_output", (self.hidden, self.hidden)
        stack, suffix = ((self.experts,), "_exps") if self.experts else ((), "")
        if self.experts:
            yield "ffn_gate_inp", (self.experts, self.hidden)
        if not self.fused:
            yield f"ffn_gate{suffix}", (*stack, self.inner, self.hidden)
        yield f"ffn_up{suffix}", (*stack, self.inner, self.hidden)
        yield f"ffn_down{suffix}", (*stack, self.hidden, self.inner)


_GIVEN = (
    ("blk.1.ffn_down.weight", r"blk\.1\.ffn_down", "q8_0"),
    ("blk.[0-3].attn_v.*", r"blk\.[0-3]\.attn_v", "q5_k"),
    ("*ffn_down*", "ffn_down", "q6_k"),
)

CASES = {
    "grouped-heads": Case(),
    "few-layers": Case(layers=3, heads=4),
    "tied": Case(layers=9, heads=4, kv_heads=4, tied=True),
    "eight-experts": Case(layers=8, experts=8),
    "sixty-four-experts": Case("qwen3moe", layers=8, experts=64, inner=256),
    "seventy-billion": Case(layers=80),
    "eighty-layers-ungrouped": Case(layers=80, kv_heads=8),
    "eighty-layers-qwen2": Case("qwen2", layers=80, kv_heads=8),
    "falcon": Case("falcon", layers=32, kv_heads=1, fused=True),
    "falcon-tied": Case("falcon", layers=20, kv_heads=1, fused=True, tied=True),
    "gpt2": Case("gpt2", kv_heads=8, fused=True, tied=True),
    "columns-of-32": Case(hidden=96, inner=416),
    "columns-of-32-within": Case(inner=544),
    "columns-of-8": Case(hidden=72, inner=200),
    "pure": Case(pure=True),
    "pure-tied": Case(pure=True, tied=True),
    "overrides": Case(layers=16, overrides=_GIVEN[:2]),
    "override-of-all": Case(layers=16, overrides=_GIVEN),
}


def summary(types: dict[str, str]) -> dict[str, str]:
    """Types by tensor name, one line for each kind of tensor, layers in order: `1 q6_k, 2 q4_k, 1 q6_k`."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(types, key=lambda name: [int(part) if part.isdigit() else 0 for part in name.split(".")]):
        kinds.setdefault(".".join("*" if part.isdigit() else part for part in name.split(".")), []).append(types[name])
    return {
        kind: ", ".join(f"{len(list(same))} {type_}" for type_, same in groupby(found)) for kind, found in kinds.items()
    }

"""How architectures differ, as flags: one table, from which one forward pass is made.

Sources: llama.cpp's src/models/*.cpp, one file per architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Experts:
    """How an architecture mixes its experts."""

    required: bool = True
    """False where the same name also stands for models without experts."""
    normalized: bool = True
    """The shares of the chosen experts are divided by their sum."""
    shared: bool = False
    """One more expert sees every token, weighted by a sigmoid of its own."""


@dataclass(frozen=True)
class Window:
    """Layers that attend to the last positions only."""

    default: int
    """Positions seen, the token's own among them, unless the file says otherwise; 0 where it has to say so."""
    period: int
    """Of so many layers the last sees everything, unless the file says otherwise."""
    local_base: float | None
    """The rotary base of windowed layers, which are then never scaled; None if they rotate as the others do."""


@dataclass(frozen=True)
class Family:
    """How an architecture differs from a plain decoder with RMS norms and a gated feed-forward."""

    rotates: bool = True
    adjacent_pairs: bool = False
    """Rotary pairs are neighbours (i, i + 1) rather than halves (i, i + width / 2)."""
    rotary_divisors: bool = False
    """The file may say what each pair's angle is divided by (`rope_freqs.weight`)."""
    long_divisors: bool = False
    """The file may say so for short and for long contexts (`rope_factors_short.weight`, `rope_factors_long.weight`)."""
    partly_rotated: bool = False
    """Only the first columns of a head may be rotated."""
    head_norms: bool = False
    """Queries and keys are normed per head before they are rotated."""
    layer_norms: bool = False
    """Norms subtract the mean and add a bias."""
    post_norms: bool = False
    """What attention and feed-forward give is normed before it is added."""
    gated: bool = True
    """act(gate) * up, rather than act(up)."""
    gate_in_up: bool = False
    """The gate is the first half of the rows of `ffn_up`."""
    gelu: bool = False
    """The activation is GELU rather than SiLU."""
    learned_positions: bool = False
    scaled_embedding: bool = False
    """Embeddings are multiplied by the root of their width."""
    score_cap: float = 0.0
    """Attention scores are bent to stay below this, unless the file says otherwise; 0 if they are left alone."""
    logit_cap: float = 0.0
    """The same of logits."""
    layers_of_largest: int | None = None
    """The size of the family that divides scores by the root of width / heads rather than of the head width."""
    window: Window | None = None
    experts: Experts | None = None


FAMILIES: Mapping[str, Family] = {
    "gemma2": Family(
        post_norms=True, gelu=True, scaled_embedding=True, partly_rotated=True, score_cap=50.0, logit_cap=30.0,
        layers_of_largest=46, window=Window(default=4096, period=2, local_base=None),
    ),
    "gemma3": Family(
        head_norms=True, post_norms=True, gelu=True, scaled_embedding=True, partly_rotated=True,
        layers_of_largest=62, window=Window(default=0, period=6, local_base=10000.0),
    ),
    "gpt2": Family(rotates=False, layer_norms=True, gated=False, gelu=True, learned_positions=True),
    "llama": Family(adjacent_pairs=True, rotary_divisors=True, experts=Experts(required=False)),
    "phi3": Family(partly_rotated=True, long_divisors=True, gate_in_up=True),
    "qwen2": Family(),
    "qwen2moe": Family(experts=Experts(normalized=False, shared=True)),
    "qwen3": Family(head_norms=True),
    "qwen3moe": Family(head_norms=True, experts=Experts()),
}  # fmt: skip
"""By `general.architecture`.

Mistral is stored as "llama". Neither there nor in "phi3" does llama.cpp apply a sliding window, nor do we.
"""

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
    shared_ungated: bool = False
    """One more expert may see every token, and is added as it is, where the file says how wide it is."""
    own_width: bool = True
    """Experts may have another inner width than the file says of feed-forwards."""


@dataclass(frozen=True)
class Window:
    """Layers that attend to the last positions only."""

    default: int
    """Positions seen, the token's own among them, unless the file says otherwise; 0 where it has to say so."""
    period: int
    """Of so many layers the last sees everything, unless the file says otherwise."""
    local_base: float | None
    """The rotary base of windowed layers, which are then never scaled; None if they rotate as the others do."""
    scaled: bool = True
    """Windowed layers are scaled as the others are, where they have no base of their own."""
    whole_first: bool = False
    """The first of so many layers sees everything, rather than the last."""
    alone_rotates: bool = False
    """Layers that see everything do not rotate."""


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
    exact_gelu: bool = False
    """GELU by the error function, as the models were trained. llama.cpp's table in float16 is as far from either."""
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
    only_runs: bool = False
    """What trains models, and what rounds or scales weights by a text's activations, does not know such layers."""
    parallel: bool = False
    """Attention and feed-forward read the same stream, unless each has a norm of its own."""
    parallel_stated: bool = False
    """The file says whether they do (`use_parallel_residual`)."""
    norms_before: bool = True
    """Attention and feed-forward are given a normed stream."""
    bare_norms: bool = False
    """Norms have no weights."""
    all_heads_normed: bool = False
    """Queries are normed over all heads at once, and so are keys."""
    embedding_norm: bool = False
    """Embeddings are normed."""
    unrotated_period: int = 0
    """Of so many layers the last does not rotate; 0 if all do."""
    alibi: float = 0.0
    """Scores fall with distance, by slopes whose steepest this bounds, unless the file says otherwise (ALiBi)."""
    heeded: tuple[str, ...] = ()
    """Settings that most architectures do not have."""
    logits_divided: bool = False
    """Logits are divided by `logit_scale` rather than multiplied."""
    encoder: bool = False
    """It gives embeddings and predicts nothing."""
    norms_stream: bool = False
    """The stream itself is normed after each addition to it."""
    first_layer_bare: bool = False
    """The first layer may lack a norm before its attention, as the embeddings are normed."""
    token_types: bool = False
    """Embeddings have that of the first type of token added to them, where the file has types."""


_SCALES = ("attention.scale", "embedding_scale", "residual_scale", "logit_scale")

FAMILIES: Mapping[str, Family] = {
    "bert": Family(
        only_runs=True, encoder=True, rotates=False, layer_norms=True, norms_before=False, norms_stream=True,
        gated=False, gelu=True, exact_gelu=True, learned_positions=True, token_types=True, embedding_norm=True,
    ),
    "bloom": Family(
        only_runs=True, rotates=False, layer_norms=True, gated=False, gelu=True, embedding_norm=True, alibi=8.0,
    ),
    "cohere2": Family(
        only_runs=True, adjacent_pairs=True, layer_norms=True, parallel=True, heeded=("logit_scale",),
        window=Window(default=0, period=4, local_base=None, alone_rotates=True),
    ),
    "command-r": Family(
        only_runs=True, adjacent_pairs=True, layer_norms=True, parallel=True, heeded=("logit_scale",),
    ),
    "exaone": Family(rotary_divisors=True),
    "falcon": Family(only_runs=True, layer_norms=True, gated=False, gelu=True, exact_gelu=True, parallel=True),
    "gemma": Family(gelu=True, scaled_embedding=True),
    "gemma2": Family(
        post_norms=True, gelu=True, scaled_embedding=True, partly_rotated=True, score_cap=50.0, logit_cap=30.0,
        layers_of_largest=46, window=Window(default=4096, period=2, local_base=None), heeded=("attention.scale",),
    ),
    "gemma3": Family(
        head_norms=True, post_norms=True, gelu=True, scaled_embedding=True, partly_rotated=True,
        layers_of_largest=62, window=Window(default=0, period=6, local_base=10000.0), heeded=("attention.scale",),
    ),
    "glm4": Family(adjacent_pairs=True, post_norms=True, partly_rotated=True, gate_in_up=True),
    "gpt2": Family(rotates=False, layer_norms=True, gated=False, gelu=True, learned_positions=True),
    "gptneox": Family(
        only_runs=True, layer_norms=True, gated=False, gelu=True, exact_gelu=True, partly_rotated=True, parallel=True,
        parallel_stated=True,
    ),
    "granite": Family(
        only_runs=True, adjacent_pairs=True, rotary_divisors=True, heeded=_SCALES, logits_divided=True,
    ),
    "granitemoe": Family(
        only_runs=True, adjacent_pairs=True, rotary_divisors=True, heeded=_SCALES, logits_divided=True,
        experts=Experts(shared_ungated=True, own_width=False),
    ),
    "internlm2": Family(adjacent_pairs=True),
    "llama": Family(
        adjacent_pairs=True, rotary_divisors=True, long_divisors=True, experts=Experts(required=False, own_width=False),
    ),
    "minicpm": Family(
        only_runs=True, adjacent_pairs=True, rotary_divisors=True, long_divisors=True, heeded=_SCALES[1:],
        logits_divided=True,
    ),
    "modern-bert": Family(
        only_runs=True, encoder=True, layer_norms=True, gate_in_up=True, gelu=True, exact_gelu=True,
        embedding_norm=True, first_layer_bare=True, heeded=("hidden_activation",),
        window=Window(default=0, period=3, local_base=10000.0, whole_first=True),
    ),
    "mpt": Family(
        only_runs=True, rotates=False, layer_norms=True, gated=False, gelu=True, exact_gelu=True,
        heeded=("attention.clamp_kqv", "attention.max_alibi_bias"),
    ),
    "nomic-bert": Family(
        only_runs=True, encoder=True, layer_norms=True, norms_before=False, norms_stream=True, token_types=True,
        embedding_norm=True,
    ),
    "olmo": Family(
        only_runs=True, adjacent_pairs=True, layer_norms=True, bare_norms=True, heeded=("attention.clamp_kqv",),
    ),
    "olmo2": Family(
        only_runs=True, norms_before=False, post_norms=True, head_norms=True, all_heads_normed=True,
        window=Window(default=0, period=4, local_base=None, scaled=False),
    ),
    "olmoe": Family(
        only_runs=True, head_norms=True, all_heads_normed=True, experts=Experts(normalized=False, own_width=False),
    ),
    "phi2": Family(
        only_runs=True, layer_norms=True, gated=False, gelu=True, partly_rotated=True, parallel=True,
    ),
    "phi3": Family(partly_rotated=True, long_divisors=True, gate_in_up=True),
    "qwen2": Family(),
    "qwen2moe": Family(experts=Experts(normalized=False, shared=True)),
    "qwen3": Family(head_norms=True),
    "qwen3moe": Family(head_norms=True, experts=Experts()),
    "smollm3": Family(only_runs=True, adjacent_pairs=True, unrotated_period=4),
    "stablelm": Family(only_runs=True, layer_norms=True, partly_rotated=True, parallel=True),
    "starcoder2": Family(layer_norms=True, gated=False, gelu=True),
}  # fmt: skip
"""By `general.architecture`.

Mistral is stored as "llama". Neither there nor in "phi3" does llama.cpp apply a sliding window, nor do we.
"""

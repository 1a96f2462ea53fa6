"""What some architectures multiply, clip or lean, read from a file's metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.runtime.family import Family

_SILU = ("silu", "swish")
_ACTIVATIONS = ("", "gelu", *_SILU)
_LARGEST = 1e6
"""Of a factor, its inverse, or a bound: far beyond any model's."""


@dataclass(frozen=True)
class Adjustments:
    """Numbers that are neutral in most models."""

    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """What attention and feed-forward give is multiplied by before it is added to the stream."""
    logit_scale: float = 1.0
    clamp: float = 0.0
    """Queries, keys and values are kept between this and its negative; 0 if they are left alone."""
    alibi: float = 0.0
    """The bound of ALiBi's slopes; 0 where scores do not fall with distance."""
    silu: bool = False
    """The activation is SiLU, where the family's is another."""


def read_adjustments(path: Path, metadata: Mapping[str, Value], architecture: str, family: Family) -> Adjustments:
    """The numbers that the family heeds; FormatError for one that is not a number in its range.

    InputError for an activation that the runtime does not know.
    """

    def stated(key: str, default: float, lowest: float) -> float:
        if key not in family.heeded:
            return default
        return scalars.number(f"{path}: ", metadata, f"{architecture}.{key}", default, lowest, _LARGEST)

    activation = ""
    if "hidden_activation" in family.heeded:
        activation = scalars.string(f"{path}: ", metadata, f"{architecture}.hidden_activation", "")
    if activation not in _ACTIVATIONS:
        raise InputError(f"{path}: cannot run a model whose '{architecture}.hidden_activation' is {quoted(activation)}")
    logit_scale = stated("logit_scale", 1.0, 1 / _LARGEST)
    return Adjustments(
        embedding_scale=stated("embedding_scale", 1.0, 1 / _LARGEST),
        residual_scale=stated("residual_scale", 1.0, 1 / _LARGEST),
        logit_scale=1 / logit_scale if family.logits_divided else logit_scale,
        clamp=stated("attention.clamp_kqv", 0.0, 0.0),
        alibi=stated("attention.max_alibi_bias", family.alibi, 0.0),
        silu=activation in _SILU,
    )


def slopes(heads: int, bound: float) -> np.ndarray:
    """How fast each head's scores fall per position, (heads,) f32; none without a bound.

    "Train Short, Test Long" (ALiBi), and ggml's soft_max_ext for a number of heads that is no power of two.
    """
    if not bound:
        return np.empty(0, np.float32)
    whole = 1 << (heads.bit_length() - 1)
    heads_before = np.arange(heads)
    steps = np.where(heads_before < whole, heads_before + 1, heads_before - whole + 0.5)
    return np.exp2(-bound / whole * steps).astype(np.float32)

"""How surprised a model is by a text: perplexity by llama-perplexity's protocol (tools/perplexity/perplexity.cpp)."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np

from quantize_cli.runtime.transformer import Transformer

_BATCH = 2048
"""Tokens run at once, as whole chunks, so that a matrix too large to hold is decoded once for several of them."""
_PROBABILITIES = 1 << 22
"""float64 probabilities held at once, 32 MiB: a row of them is as wide as the vocabulary."""
_LARGEST = log(sys.float_info.max)


@dataclass(frozen=True)
class PerplexityResult:
    """A perplexity and how far to trust it."""

    perplexity: float
    perplexity_stderr: float
    """Of the mean over tokens, taken as independent."""
    tokens: int
    """How many were scored: of each chunk those behind its first half, context - context // 2 - 1."""
    chunks: int


OnChunk = Callable[[int, int, float], None]
"""Called after each chunk with the number done, the number in all, and the perplexity so far."""


def perplexity(transformer: Transformer, chunks: np.ndarray, on_chunk: OnChunk | None = None) -> PerplexityResult:
    """The model's perplexity on `chunks` (count, context) of tokens, each run on its own from position zero.

    Only the second half of a chunk is scored, so that every scored token has at least half a context before it.
    """
    total = total_square = 0.0
    scored = 0
    together = max(1, _BATCH // chunks.shape[1])
    for start in range(0, len(chunks), together):
        surprises = _surprises(transformer, chunks[start : start + together])
        for done, surprise in enumerate(surprises, start + 1):
            total += float(surprise.sum())
            total_square += float(np.square(surprise).sum())
            scored += surprise.size
            if on_chunk is not None:
                on_chunk(done, len(chunks), _exp(total / scored))
    mean = total / scored
    variance = max(0.0, total_square / scored - mean * mean)
    return PerplexityResult(_exp(mean), _exp(mean) * sqrt(variance / (scored - 1)), scored, len(chunks))


def _exp(surprise: float) -> float:
    """e to the power of it; infinity, as llama.cpp prints it, for what a broken model reaches."""
    return inf if surprise >= _LARGEST else exp(surprise)


def _surprises(transformer: Transformer, chunks: np.ndarray) -> Iterator[np.ndarray]:
    """Per chunk, -ln p of each scored token given those before it, float64."""
    first = chunks.shape[1] // 2
    hidden = transformer.hidden(chunks)[:, first:-1]
    for states, chunk in zip(hidden, chunks, strict=True):
        yield _surprise(transformer.project(states), chunk[first + 1 :])


def _surprise(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Logits (n, vocabulary) f32 and the tokens (n,) that came -> -ln p of each, (n,) float64."""
    step = max(1, _PROBABILITIES // logits.shape[1])
    parts = []
    for start in range(0, len(tokens), step):
        rows = logits[start : start + step].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        came = np.take_along_axis(rows, tokens[start : start + step, None], axis=1)[:, 0]
        parts.append(np.log(np.exp(rows).sum(axis=1)) - came)
    return np.concatenate(parts)

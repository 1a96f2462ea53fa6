"""How surprised a model is by a text: perplexity by llama-perplexity's protocol (tools/perplexity/perplexity.cpp)."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log, sqrt

import numpy as np

from quantize_cli.evaluation.score import surprises
from quantize_cli.evaluation.stream import measure
from quantize_cli.jit import elementary
from quantize_cli.runtime.transformer import Transformer

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
    total = 0.0

    def report(index: int, logits: np.ndarray, tokens: np.ndarray) -> None:
        nonlocal total
        if on_chunk is not None:
            total += float(surprises(logits, tokens).mean())
            on_chunk(index + 1, len(chunks), exponential(total / (index + 1)))

    (scores,) = measure([transformer], chunks, on_chunk=report)
    return of_surprises(scores.surprise)


def of_surprises(surprise: np.ndarray) -> PerplexityResult:
    """The perplexity of tokens whose -ln p is given, (chunks, scored)."""
    mean, error = mean_and_error(surprise)
    return PerplexityResult(exponential(mean), exponential(mean) * error, surprise.size, len(surprise))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean, and its standard error if all values are independent; the latter as llama-perplexity computes it."""
    mean = float(values.mean())
    variance = max(0.0, float(np.square(values - mean).mean()))
    return mean, sqrt(variance / (values.size - 1))


def exponential(logarithm: float) -> float:
    """e to the power of it; infinity, as llama.cpp prints it, for what a broken model reaches."""
    return inf if logarithm >= _LARGEST else float(elementary.exponential(np.array(logarithm)))

"""The figures by which a model is judged, from the scores of its tokens: those of llama-perplexity, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from quantize_cli.evaluation.bootstrap import Draws, Estimate
from quantize_cli.evaluation.score import Against
from quantize_cli.evaluation.stream import Scores
from quantize_cli.jit.elementary import exponential

_SHARE = (0.0, 1.0)
_POSITIVE = (0.0, np.inf)
_FRACTIONS = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Comparison:
    """What a model lost against its reference."""

    reference_perplexity: float
    reference_perplexity_stderr: float
    perplexity_ratio: Estimate
    mean_ln_ratio: float
    mean_ln_ratio_stderr: float
    """Paired: of the differences at each token."""
    correlation: float
    """Of the two models' ln p over tokens."""
    kld_mean: Estimate
    kld_mean_stderr: float
    kld_median: Estimate
    kld_p90: Estimate
    kld_p95: Estimate
    kld_p99: Estimate
    kld_p999: Estimate
    kld_max: float
    top1: Estimate
    """How often both hold the same token for the likeliest."""
    rms_delta_p: Estimate
    """Root of the mean square of what the probability of the token that came changed by."""
    kld_error: float
    """How far `kld_mean` may be off as the reference is stored in few bits; NaN where nothing bounds it."""


@dataclass(frozen=True)
class Summary:
    """A model on a text, or on several of which each counts as much as the others."""

    perplexity: Estimate
    perplexity_stderr: float
    """Of the mean over tokens, taken as independent, as llama-perplexity has it."""
    tokens: int
    chunks: int
    comparison: Comparison | None


def summarize(scores: Scores, texts: Sequence[int]) -> Summary:
    """The figures of `scores`; `texts` are the numbers of chunks of each text, in order."""
    surprise = scores.surprise
    draws = Draws(texts, surprise.shape[1])
    perplexity = draws.exponential_mean(surprise)
    stderr = perplexity.value * _error(surprise, texts)
    compared = None if scores.against is None else _compare(surprise, scores.against, draws, texts)
    return Summary(perplexity, stderr, surprise.size, len(surprise), compared)


def _compare(surprise: np.ndarray, against: Against, draws: Draws, texts: Sequence[int]) -> Comparison:
    difference = surprise - against.surprise
    base = draws.exponential_mean(against.surprise)
    ratio = draws.mean(difference).value
    divergence = against.divergence
    quantiles = draws.quantiles(divergence, _FRACTIONS)
    with np.errstate(over="ignore", invalid="ignore"):
        delta = exponential(-surprise) - exponential(-against.surprise)
    return Comparison(
        reference_perplexity=base.value,
        reference_perplexity_stderr=base.value * _error(against.surprise, texts),
        perplexity_ratio=draws.exponential_mean(difference),
        mean_ln_ratio=ratio,
        mean_ln_ratio_stderr=_error(difference, texts),
        correlation=_correlation(surprise.ravel(), against.surprise.ravel()),
        kld_mean=draws.mean(divergence, _POSITIVE),
        kld_mean_stderr=_error(divergence, texts),
        kld_median=quantiles[0], kld_p90=quantiles[1], kld_p95=quantiles[2],
        kld_p99=quantiles[3], kld_p999=quantiles[4], kld_max=float(divergence.max()),
        top1=draws.mean(against.agrees, _SHARE),
        rms_delta_p=draws.root_mean_square(delta),
        kld_error=draws.mean(against.slack).value,
    )  # fmt: skip


def _error(values: np.ndarray, texts: Sequence[int]) -> float:
    """Standard error of the mean if all tokens are independent; of several texts, of the mean of their means."""
    parts = np.split(values, np.cumsum(texts)[:-1])
    return float(np.sqrt(sum(_error_of_one(part) ** 2 for part in parts))) / len(parts)


def _error_of_one(values: np.ndarray) -> float:
    """Standard error of the mean of independent values, as llama-perplexity computes it."""
    variance = max(0.0, float(np.square(values - float(values.mean())).mean()))
    return sqrt(variance / (values.size - 1))


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    """NaN when one of them does not vary."""
    left, right = left - left.mean(), right - right.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((left * right).sum() / np.sqrt(np.square(left).sum() * np.square(right).sum()))


def by_position(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (chunks, scored) -> middles of at most `bins` groups of positions in the scored half, and their means."""
    groups = np.array_split(np.arange(values.shape[1]), min(bins, values.shape[1]))
    middles = np.array([group.mean() for group in groups])
    return middles, np.array([values[:, group].mean() for group in groups])

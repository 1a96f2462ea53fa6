"""Figures of a model from the scores of its tokens: those of llama-perplexity, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from quantize_cli.evaluation.bootstrap import BlockBootstrap, Estimate
from quantize_cli.evaluation.measure import Scores
from quantize_cli.evaluation.score import TokenComparison
from quantize_cli.jit.elementary import exponential

_SHARE = (0.0, 1.0)
_POSITIVE = (0.0, np.inf)
_FRACTIONS = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Comparison:
    """The loss of a model against its reference."""

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
    """How often both have the same most likely token."""
    rms_delta_p: Estimate
    """Root mean square of the change in the observed token's probability."""
    kld_error: float
    """Bound of the error of `kld_mean`, as the reference is stored in few bits; NaN without a bound."""


@dataclass(frozen=True)
class Summary:
    """The figures of a model on a text, or on several texts with equal weights."""

    perplexity: Estimate
    perplexity_stderr: float
    """Of the mean over tokens, taken as independent, as in llama-perplexity."""
    tokens: int
    chunks: int
    comparison: Comparison | None


def summarize(scores: Scores, texts: Sequence[int]) -> Summary:
    """The figures of `scores`; `texts` are the numbers of chunks of each text, in order."""
    nll = scores.nll
    bootstrap = BlockBootstrap(texts, nll.shape[1])
    perplexity = bootstrap.exponential_mean(nll)
    stderr = perplexity.value * _error(nll, texts)
    compared = None if scores.against is None else _compare(nll, scores.against, bootstrap, texts)
    return Summary(perplexity, stderr, nll.size, len(nll), compared)


def _compare(nll: np.ndarray, against: TokenComparison, bootstrap: BlockBootstrap, texts: Sequence[int]) -> Comparison:
    difference = nll - against.nll
    base = bootstrap.exponential_mean(against.nll)
    ratio = bootstrap.mean(difference).value
    divergence = against.divergence
    quantiles = bootstrap.quantiles(divergence, _FRACTIONS)
    with np.errstate(over="ignore", invalid="ignore"):
        delta = exponential(-nll) - exponential(-against.nll)
    return Comparison(
        reference_perplexity=base.value,
        reference_perplexity_stderr=base.value * _error(against.nll, texts),
        perplexity_ratio=bootstrap.exponential_mean(difference),
        mean_ln_ratio=ratio,
        mean_ln_ratio_stderr=_error(difference, texts),
        correlation=_correlation(nll.ravel(), against.nll.ravel()),
        kld_mean=bootstrap.mean(divergence, _POSITIVE),
        kld_mean_stderr=_error(divergence, texts),
        kld_median=quantiles[0], kld_p90=quantiles[1], kld_p95=quantiles[2],
        kld_p99=quantiles[3], kld_p999=quantiles[4], kld_max=float(divergence.max()),
        top1=bootstrap.mean(against.same_top_token, _SHARE),
        rms_delta_p=bootstrap.root_mean_square(delta),
        kld_error=bootstrap.mean(against.divergence_error).value,
    )  # fmt: skip


def _error(values: np.ndarray, texts: Sequence[int]) -> float:
    """Standard error of the mean if all tokens are independent, as llama-perplexity computes it.

    Of several texts, that of the mean of their means.
    """
    parts = np.split(values, np.cumsum(texts)[:-1])
    return sqrt(sum(_variance(part) / (part.size - 1) for part in parts)) / len(parts)


def _variance(values: np.ndarray) -> float:
    """Zero where a value is no number, as in llama-perplexity."""
    return max(0.0, float(np.square(values - float(values.mean())).mean()))


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    """NaN when one of them does not vary."""
    left, right = left - left.mean(), right - right.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((left * right).sum() / np.sqrt(np.square(left).sum() * np.square(right).sum()))


def by_position(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The middles of at most `bins` groups of scored positions, and the means of values (chunks, scored) there."""
    groups = np.array_split(np.arange(values.shape[1]), min(bins, values.shape[1]))
    middles = np.array([group.mean() for group in groups])
    return middles, np.array([values[:, group].mean() for group in groups])

"""The figures are those of their definitions, and llama-perplexity's."""

import numpy as np
import pytest

from quantize_cli.evaluation.measure import Scores
from quantize_cli.evaluation.score import TokenComparison
from quantize_cli.evaluation.summary import Comparison, by_position, summarize


def scores(chunks: int = 6, scored: int = 10) -> Scores:
    random = np.random.default_rng(4)
    base = random.exponential(2, (chunks, scored))
    nll = base + random.normal(0.05, 0.2, base.shape)
    against = TokenComparison(
        base, random.exponential(0.02, base.shape), random.random(base.shape) < 0.9, np.full_like(base, 0.5)
    )
    return Scores(nll, against, (1.0,))


def compared(found: Comparison | None) -> Comparison:
    assert found is not None
    return found


def test_figures_are_those_of_their_definitions() -> None:
    given = scores()
    against = given.against
    assert against is not None
    summary = summarize(given, [6])
    found = compared(summary.comparison)
    difference = given.nll - against.nll
    delta = np.exp(-given.nll) - np.exp(-against.nll)
    assert summary.perplexity.value == pytest.approx(np.exp(given.nll.mean()))
    assert (summary.tokens, summary.chunks) == (60, 6)
    assert found.reference_perplexity == pytest.approx(np.exp(against.nll.mean()))
    assert found.perplexity_ratio.value == pytest.approx(np.exp(difference.mean()))
    assert found.mean_ln_ratio == pytest.approx(difference.mean())
    assert found.correlation == pytest.approx(np.corrcoef(given.nll.ravel(), against.nll.ravel())[0, 1])
    assert found.kld_mean.value == pytest.approx(against.divergence.mean())
    assert found.kld_median.value == pytest.approx(np.median(against.divergence))
    assert found.kld_p99.value == pytest.approx(np.quantile(against.divergence, 0.99))
    assert found.kld_max == against.divergence.max()
    assert found.top1.value == pytest.approx(against.same_top_token.mean())
    assert found.rms_delta_p.value == pytest.approx(np.sqrt(np.square(delta).mean()))
    assert found.kld_error == pytest.approx(0.5)


def test_the_error_of_the_ratio_is_paired_as_llama_perplexitys_is() -> None:
    """Its sqrt(var(a) + var(b) - 2 cov(a, b)) is the error of the mean difference."""
    given = scores()
    against = given.against
    assert against is not None
    left, right = given.nll.ravel(), against.nll.ravel()
    covariance = np.cov(left, right, bias=True) / (left.size - 1)
    expected = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert compared(summarize(given, [6]).comparison).mean_ln_ratio_stderr == pytest.approx(expected)


def test_a_pair_is_told_apart_better_than_two_models_alone() -> None:
    given = scores(chunks=30)
    summary = summarize(given, [30])
    ratio = compared(summary.comparison).perplexity_ratio
    assert ratio.interval is not None
    assert summary.perplexity.interval is not None
    paired = np.log(ratio.interval[1] / ratio.interval[0])
    alone = np.log(summary.perplexity.interval[1] / summary.perplexity.interval[0])
    assert paired < alone / 3


def test_several_texts_are_averaged_as_texts() -> None:
    given = scores()
    parts = [summarize(given.of_chunks(0, 2), [2]), summarize(given.of_chunks(2, 6), [4])]
    found = summarize(given, [2, 4])
    assert found.perplexity.value == pytest.approx(np.sqrt(parts[0].perplexity.value * parts[1].perplexity.value))
    klds = [compared(part.comparison).kld_mean.value for part in parts]
    assert compared(found.comparison).kld_mean.value == pytest.approx(np.mean(klds))
    assert found.tokens == 60


def test_positions_are_grouped_in_order() -> None:
    middles, means = by_position(np.tile(np.arange(10.0), (3, 1)), 5)
    assert middles.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert means.tolist() == middles.tolist()
    assert by_position(np.zeros((2, 3)), 32)[0].tolist() == [0, 1, 2]

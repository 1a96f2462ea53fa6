"""Intervals hold what they promise, also from a few chunks; figures of several texts count each text once."""

import numpy as np
import pytest

from quantize_cli.evaluation.bootstrap import BlockBootstrap, _student

STUDENT = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 10: 2.2281, 30: 2.0423, 1000: 1.9623}


@pytest.mark.parametrize("freedom", STUDENT)
def test_students_t_is_that_of_the_tables(freedom: int) -> None:
    assert _student(freedom) == pytest.approx(STUDENT[freedom], abs=3e-3)


@pytest.mark.parametrize("chunks", [4, 8, 30])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(chunks: int) -> None:
    """Values that lean to one side, and depend on the others of their chunk, as divergences do."""
    random, bootstrap, held = np.random.default_rng(5), BlockBootstrap([chunks], 20), 0
    trials, truth = 400, float(np.exp(0.5 * (0.5**2 + 0.5**2)))
    for _ in range(trials):
        values = np.exp(random.normal(0, 0.5, (chunks, 1)) + random.normal(0, 0.5, (chunks, 20)))
        interval = bootstrap.mean(values).interval
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    # 380 expected; skewed values cost a little of it, three standard deviations are 13.
    assert 360 <= held <= 394


def test_intervals_are_the_same_at_every_run() -> None:
    values = np.random.default_rng(1).random((9, 5))
    first, second = (BlockBootstrap([4, 5], 5).quantiles(values, (0.5, 0.99)) for _ in range(2))
    assert first == second


def test_one_chunk_tells_nothing_of_its_spread() -> None:
    values = np.random.default_rng(1).random((3, 5))
    assert BlockBootstrap([1, 2], 5).mean(values).interval is None
    assert BlockBootstrap([3], 5).mean(values).interval is not None


def test_quantiles_are_numpys() -> None:
    values = np.random.default_rng(2).random((7, 11))
    fractions = (0.0, 0.25, 0.5, 0.9, 0.999, 1.0)
    found = BlockBootstrap([7], 11).quantiles(values, fractions)
    assert [one.value for one in found] == pytest.approx(np.quantile(values, fractions), rel=1e-12)
    for one in found[1:-1]:
        assert one.interval is not None
        assert one.interval[0] <= one.value <= one.interval[1]


def test_each_text_counts_as_much_as_the_others() -> None:
    values = np.concatenate([np.full((2, 4), 1.0), np.full((6, 4), 5.0)])
    bootstrap = BlockBootstrap([2, 6], 4)
    assert bootstrap.mean(values).value == pytest.approx(3)
    assert bootstrap.exponential_mean(values).value == pytest.approx(np.exp(3))
    assert bootstrap.root_mean_square(values).value == pytest.approx(np.sqrt(13))
    assert bootstrap.quantiles(values, (0.4, 0.6))[0].value == pytest.approx(1)
    assert bootstrap.quantiles(values, (0.4, 0.6))[1].value == pytest.approx(5)


def test_intervals_stay_within_what_can_be() -> None:
    same_top_token = np.ones((4, 3))
    same_top_token[0, 0] = 0
    interval = BlockBootstrap([4], 3).mean(same_top_token, (0, 1)).interval
    assert interval is not None
    assert interval[1] == 1


def test_what_is_not_finite_has_no_interval() -> None:
    values = np.ones((4, 3))
    values[1, 1] = np.nan
    found = BlockBootstrap([4], 3).mean(values)
    assert np.isnan(found.value)
    assert found.interval is None

"""Tokens are drawn from what llama.cpp's chain of filters leaves, in proportion, and by the seed alone."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.runtime.sampler import PENALTY_WINDOW, Sampler, Sampling, candidates
from tests import oracle

ALL = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
PROBABILITIES = np.array([0.05, 0.4, 0.1, 0.2, 0.25])
LOGITS = np.log(PROBABILITIES).astype(np.float32) + np.float32(3)


def left(**settings: Any) -> list[int]:
    return candidates(LOGITS, dataclasses.replace(ALL, **settings)).tolist()


@pytest.mark.parametrize("seed", range(40))
def test_the_filters_leave_what_llama_cpps_chain_leaves(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, 500).astype(np.float32)
    top_k, top_p, min_p = int(random.integers(1, 200)), random.uniform(0.3, 1), random.uniform(0, 0.2)
    sampling = Sampling(1.0, top_k, top_p, min_p)
    chain = [("top_k", (top_k,)), ("top_p", (top_p, 1)), ("min_p", (min_p, 1))]
    assert sorted(candidates(logits, sampling).tolist()) == oracle.filtered(logits, chain)


def test_without_a_filter_every_token_is_left_likeliest_first() -> None:
    assert left() == [1, 4, 3, 2, 0]


def test_top_k_leaves_the_likeliest() -> None:
    assert left(top_k=2) == [1, 4]
    assert left(top_k=99) == [1, 4, 3, 2, 0]


@pytest.mark.parametrize("top_k", [1, 2, 5, 40, 299, 300, 301])
def test_of_many_equals_top_k_leaves_the_lower_in_order(top_k: int) -> None:
    logits = np.random.default_rng(0).integers(-5, 5, 300).astype(np.float32)
    expected = np.argsort(-logits, kind="stable")[:top_k]
    assert np.array_equal(candidates(logits, dataclasses.replace(ALL, top_k=top_k)), expected)


@pytest.mark.parametrize(("top_p", "count"), [(0.01, 1), (0.39, 1), (0.5, 2), (0.66, 3), (0.86, 4), (0.99, 5)])
def test_top_p_leaves_as_many_as_reach_it(top_p: float, count: int) -> None:
    assert left(top_p=top_p) == [1, 4, 3, 2, 0][:count]


@pytest.mark.parametrize(("min_p", "count"), [(0.12, 5), (0.13, 4), (0.3, 3), (0.6, 2), (0.7, 1), (1.0, 1)])
def test_min_p_leaves_those_not_much_less_likely(min_p: float, count: int) -> None:
    assert left(min_p=min_p) == [1, 4, 3, 2, 0][:count]


def test_top_p_counts_what_top_k_left() -> None:
    # Of the three left, the first two have 0.65 / 0.85 of the probability.
    assert left(top_k=3, top_p=0.76) == [1, 4]


def test_equals_are_ordered_by_number() -> None:
    assert candidates(np.zeros(4, np.float32), dataclasses.replace(ALL, top_k=2)).tolist() == [0, 1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_in_proportion(temperature: float) -> None:
    sampler = Sampler(dataclasses.replace(ALL, temperature=temperature))
    draws = 20000
    counts = Counter(sampler(LOGITS) for _ in range(draws))
    expected = PROBABILITIES ** (1 / temperature)
    expected /= expected.sum()
    shares = np.array([counts[token] / draws for token in range(LOGITS.size)])
    # Four standard deviations of the likeliest share.
    assert np.abs(shares - expected).max() < 4 * 0.5 / np.sqrt(draws)


def test_only_what_is_left_is_drawn() -> None:
    sampler = Sampler(dataclasses.replace(ALL, top_k=2, temperature=50.0))
    assert {sampler(LOGITS) for _ in range(200)} == {1, 4}


def test_a_seed_draws_these_tokens_and_no_others() -> None:
    first, second = (Sampler(dataclasses.replace(ALL, seed=seed)) for seed in (0, 1))
    assert [first(LOGITS) for _ in range(12)] == [1, 1, 1, 4, 4, 1, 2, 0, 1, 1, 3, 1]
    assert [second(LOGITS) for _ in range(12)] == [1, 3, 1, 1, 2, 1, 3, 1, 4, 1, 1, 3]


def test_temperature_zero_takes_the_likeliest_whatever_the_filters() -> None:
    assert Sampler(Sampling(seed=3))(LOGITS) == 1


def test_a_repeat_penalty_makes_recent_tokens_less_likely() -> None:
    logits = np.array([-1.0, 2.0, 1.5], np.float32)
    sampler = Sampler(Sampling(repeat_penalty=2.0))
    assert [sampler(logits) for _ in range(3)] == [1, 2, 1]
    fresh = Sampler(Sampling(repeat_penalty=2.0))
    fresh.accept([0])
    assert fresh._penalized(logits).tolist() == [-2.0, 2.0, 1.5]


def test_a_penalty_is_forgotten_in_time() -> None:
    logits = np.array([2.0, 1.9, 0.0], np.float32)
    sampler = Sampler(Sampling(repeat_penalty=2.0))
    sampler.accept([0, *[2] * PENALTY_WINDOW])
    assert sampler(logits) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="the model's logits are not finite"):
        Sampler(Sampling())(np.array([1.0, value], np.float32))


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", -0.1), ("temperature", np.nan), ("top_k", -1), ("top_p", 0.0), ("top_p", 1.5), ("min_p", -0.5),
     ("repeat_penalty", 0.0), ("seed", -1), ("seed", 1 << 64)],
)  # fmt: skip
def test_a_value_out_of_range_is_named(option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} {value}: not "):
        Sampling(**{option: value})  # type: ignore[arg-type]

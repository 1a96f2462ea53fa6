"""Attention is softmax(cap(q k scale)) v over the positions a query sees, whatever lies in the rest of the cache."""

import numpy as np
import pytest

from quantize_cli.runtime.kernels.attend import attend, scratch_columns
from tests.runtime.kernels.machine import numbers, run

CAPACITY = 80
NEAR = 2e-6
"""Values are below five, their shares sum to one, and shares are off by a few roundings."""


NONE = np.empty(0, np.float32)


def naive(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    stored: int,
    scale: float,
    cap: float,
    window: int,
    slopes: np.ndarray = NONE,
    ahead: bool = False,
) -> np.ndarray:
    """One loop per sequence, query and head, float64; keys and values (sequences, heads, positions, width)."""
    sequences, count, heads, width = queries.shape
    mixed = np.empty((sequences, count, heads, width))
    for sequence, token, head in np.ndindex(sequences, count, heads):
        source = head * keys.shape[1] // heads
        own = stored + token
        seen = slice(max(0, own + 1 - window) if window else 0, own + 1)
        if ahead:
            first, last = (own - window // 2, own + window // 2) if window else (0, stored + count - 1)
            seen = slice(max(0, first), min(last + 1, stored + count))
        scores = keys[sequence, source, seen].astype(float) @ queries[sequence, token, head] * scale
        if cap:
            scores = cap * np.tanh(scores / cap)
        if slopes.size:
            scores = scores - float(slopes[head]) * np.arange(scores.size)[::-1]
        shares = np.exp(scores - scores.max())
        mixed[sequence, token, head] = shares / shares.sum() @ values[sequence, source, seen]
    return mixed.reshape(sequences * count, heads * width)


class Case:
    """A layer's cache of which only the positions seen hold numbers, and queries for the last of them."""

    def __init__(self, sequences: int, count: int, stored: int, shared: int, group: int, width: int) -> None:
        self.stored, self.shape = stored, (sequences, count, shared * group, width)
        self.queries = numbers(0, *self.shape)
        self.keys, self.values = (numbers(seed, sequences, shared, CAPACITY, width) for seed in (1, 2))
        self.keys[:, :, stored + count :] = self.values[:, :, stored + count :] = np.nan

    def attend(
        self, scale: float, cap: float, window: int, threads: int, slopes: np.ndarray = NONE, ahead: bool = False
    ) -> np.ndarray:
        sequences, count, _, width = self.shape
        keys = np.ascontiguousarray(self.keys.swapaxes(2, 3)).reshape(-1, CAPACITY)
        queries = self.queries.reshape(sequences * count, -1)
        out, cell = np.full_like(queries, np.nan), np.array([self.stored])
        scratch = np.full((threads, scratch_columns(CAPACITY, width)), np.nan, np.float32)
        run(
            attend, queries=queries, all_keys=keys, all_values=self.values.reshape(-1, width), stored=cell, out=out,
            scratch=scratch, scale=scale, cap=cap, window=window, sequences=sequences, slopes=slopes,
            ahead=ahead, count=threads,
        )  # fmt: skip
        return out

    def naive(
        self, scale: float, cap: float, window: int, slopes: np.ndarray = NONE, ahead: bool = False
    ) -> np.ndarray:
        return naive(self.queries, self.keys, self.values, self.stored, scale, cap, window, slopes, ahead)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("window", [0, 1, 19])
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize(("count", "stored"), [(1, 0), (1, 79), (9, 0), (7, 31), (80, 0)])
def test_positions_seen(count: int, stored: int, cap: float, window: int, threads: int) -> None:
    case = Case(2, count, stored, shared=2, group=3, width=16)
    found = case.attend(0.5, cap, window, threads)
    np.testing.assert_allclose(found, case.naive(0.5, cap, window), rtol=0, atol=NEAR)


@pytest.mark.parametrize("width", [1, 8, 15, 16, 17, 31, 32, 33, 40, 48, 50, 64, 80, 96, 128, 256])
@pytest.mark.parametrize(("shared", "group"), [(1, 8), (3, 1), (1, 12)])
def test_widths_and_groups(shared: int, group: int, width: int) -> None:
    case = Case(1, 3, 40, shared, group, width)
    scale = width**-0.5
    found = case.attend(scale, 0.0, 0, 2)
    np.testing.assert_allclose(found, case.naive(scale, 0.0, 0), rtol=0, atol=NEAR)


@pytest.mark.parametrize("window", [0, 21])
@pytest.mark.parametrize(("shared", "group"), [(4, 1), (1, 6), (2, 3)])
@pytest.mark.parametrize(("count", "stored"), [(1, 79), (7, 31), (80, 0)])
def test_scores_fall_with_distance_by_each_heads_slope(
    count: int, stored: int, shared: int, group: int, window: int
) -> None:
    case, slopes = Case(2, count, stored, shared, group, 16), np.exp2(-np.arange(shared * group)).astype(np.float32)
    found = case.attend(0.5, 0.0, window, 2, slopes)
    np.testing.assert_allclose(found, case.naive(0.5, 0.0, window, slopes), rtol=0, atol=NEAR)


def test_threads_change_no_byte() -> None:
    case = Case(1, 33, 5, shared=2, group=4, width=48)
    assert case.attend(0.2, 0.0, 0, 1).tobytes() == case.attend(0.2, 0.0, 0, 2).tobytes()


def test_a_prompt_in_pieces_gives_what_it_gives_at_once() -> None:
    whole, last = Case(1, 40, 0, 1, 8, 32), Case(1, 1, 39, 1, 8, 32)
    last.keys, last.values = whole.keys, whole.values
    last.queries = whole.queries[:, 39:].copy()
    assert last.attend(0.2, 0.0, 0, 1).tobytes() == whole.attend(0.2, 0.0, 0, 1)[39:].tobytes()


@pytest.mark.parametrize("window", [0, 1, 16, 33])
@pytest.mark.parametrize(("count", "group"), [(1, 1), (9, 3), (33, 1), (80, 1)])
def test_an_encoder_sees_positions_after_its_own(count: int, group: int, window: int) -> None:
    case = Case(2, count, 0, shared=2, group=group, width=16)
    expected = case.naive(0.5, 0.0, window, ahead=True)
    np.testing.assert_allclose(case.attend(0.5, 0.0, window, 2, ahead=True), expected, rtol=0, atol=NEAR)

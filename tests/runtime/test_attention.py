"""Attention is softmax(q k / sqrt(width)) v over the positions up to each query's own, or the last of them."""

import numpy as np
import pytest

from quantize_cli.runtime import attention
from quantize_cli.runtime.attention import Scoring

SCALE = 8**-0.5


def naive(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, scoring: Scoring) -> np.ndarray:
    """One loop per sequence, query and head, float64."""
    sequences, count, heads, width = queries.shape
    shared, positions = keys.shape[1:3]
    mixed = np.empty((sequences, count, heads, width))
    for sequence, place, head in np.ndindex(sequences, count, heads):
        seen = positions - count + place + 1
        first = max(0, seen - scoring.window) if scoring.window else 0
        source = head // (heads // shared)
        scores = keys[sequence, source, first:seen].astype(float) @ queries[sequence, place, head] / np.sqrt(width)
        if scoring.cap:
            scores = scoring.cap * np.tanh(scores / scoring.cap)
        shares = np.exp(scores) / np.exp(scores).sum()
        mixed[sequence, place, head] = shares @ values[sequence, source, first:seen]
    return mixed.reshape(sequences, count, heads * width)


@pytest.mark.parametrize("held", [1, 40, 1 << 20])
@pytest.mark.parametrize(
    "scoring",
    [Scoring(SCALE), Scoring(SCALE, cap=0.5), *(Scoring(SCALE, window=window) for window in (1, 3, 4, 7, 12, 99))],
    ids=str,
)
@pytest.mark.parametrize(("count", "positions"), [(1, 1), (1, 9), (7, 7), (5, 12)])
def test_attention_is_the_formula_however_it_is_cut(
    count: int, positions: int, scoring: Scoring, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SCORES", held)
    random = np.random.default_rng(0)
    queries = random.normal(size=(2, count, 6, 8)).astype(np.float32)
    keys, values = (random.normal(size=(2, 3, positions, 8)).astype(np.float32) for _ in range(2))
    difference = attention.attend(queries, keys, values, scoring) - naive(queries, keys, values, scoring)
    assert np.abs(difference).max() < 1e-6

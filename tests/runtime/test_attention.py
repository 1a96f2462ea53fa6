"""Attention is softmax(q k / sqrt(width)) v over the positions up to each query's own."""

import numpy as np
import pytest

from quantize_cli.runtime import attention


def naive(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """One loop per sequence, query and head, float64."""
    sequences, count, heads, width = queries.shape
    shared, positions = keys.shape[1:3]
    mixed = np.empty((sequences, count, heads, width))
    for sequence, place, head in np.ndindex(sequences, count, heads):
        seen = positions - count + place + 1
        source = head // (heads // shared)
        scores = keys[sequence, source, :seen].astype(float) @ queries[sequence, place, head] / np.sqrt(width)
        shares = np.exp(scores) / np.exp(scores).sum()
        mixed[sequence, place, head] = shares @ values[sequence, source, :seen]
    return mixed.reshape(sequences, count, heads * width)


@pytest.mark.parametrize("held", [1, 40, 1 << 20])
@pytest.mark.parametrize(("count", "positions"), [(1, 1), (1, 9), (7, 7), (5, 12)])
def test_attention_is_the_formula_however_it_is_cut(
    count: int, positions: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_SCORES", held)
    random = np.random.default_rng(0)
    queries = random.normal(size=(2, count, 6, 8)).astype(np.float32)
    keys, values = (random.normal(size=(2, 3, positions, 8)).astype(np.float32) for _ in range(2))
    difference = attention.attend(queries, keys, values) - naive(queries, keys, values)
    assert np.abs(difference).max() < 1e-6

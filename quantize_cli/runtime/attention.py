"""Causal attention with grouped key-value heads."""

from functools import lru_cache

import numpy as np

_SCORES = 1 << 20
"""Scores held at once. A block of this size stays in cache, and a long prompt needs no memory of its square."""


def attend(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mix `values` for each query over the positions up to its own.

    `queries` (sequences, n, heads, head width) are the last n positions of `keys` and `values`, which are
    (sequences, key-value heads, positions, head width); consecutive heads share a key-value head. All f32.
    Gives (sequences, n, heads * head width).
    """
    sequences, count, heads, width = queries.shape
    shared = keys.shape[1]
    scaled = (queries * np.float32(1 / np.sqrt(width))).reshape(sequences, count, shared, heads // shared, width)
    mixed = np.empty_like(scaled)
    for sequence in range(sequences):
        for head in range(shared):
            _attend_head(
                scaled[sequence, :, head], keys[sequence, head], values[sequence, head], mixed[sequence, :, head]
            )
    return mixed.reshape(sequences, count, heads * width)


def _attend_head(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, mixed: np.ndarray) -> None:
    """One key-value head: `queries` and `mixed`, which is filled, are (n, heads that share it, head width)."""
    count, group, width = queries.shape
    positions = len(keys)
    block = max(1, _SCORES // (group * positions))
    for start in range(0, count, block):
        stop = min(start + block, count)
        seen = positions - count + stop
        scores = (queries[start:stop].reshape(-1, width) @ keys[:seen].T).reshape(stop - start, group, seen)
        scores[..., seen - (stop - start) :] += _later(stop - start)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        blend = scores.reshape(-1, seen) @ values[:seen]
        mixed[start:stop] = blend.reshape(stop - start, group, width) / scores.sum(axis=-1, keepdims=True)


@lru_cache(maxsize=8)
def _later(size: int) -> np.ndarray:
    """What to add to the scores (size, heads, size) of as many queries and their own positions: -inf after each."""
    return np.triu(np.full((size, size), -np.inf, np.float32), k=1)[:, None]

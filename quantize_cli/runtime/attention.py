"""Causal attention with grouped key-value heads, over everything before or over a window of it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_SCORES = 1 << 20
"""Scores held at once. A block of this size stays in cache, and a long prompt needs no memory of its square."""


@dataclass(frozen=True)
class Scoring:
    """How products of queries and keys become scores, and which count."""

    scale: float
    cap: float = 0.0
    """Scores are bent to cap * tanh(score / cap); 0 if they are left alone."""
    window: int = 0
    """The last positions a query sees, its own among them; 0 for all."""


def attend(queries: np.ndarray, keys: np.ndarray, values: np.ndarray, scoring: Scoring) -> np.ndarray:
    """Mix `values` for each query over the positions up to its own.

    `queries` (sequences, n, heads, head width) are the last n positions of `keys` and `values`, which are
    (sequences, key-value heads, positions, head width); consecutive heads share a key-value head. All f32.
    Gives (sequences, n, heads * head width).
    """
    sequences, count, heads, width = queries.shape
    shared = keys.shape[1]
    scaled = (queries * np.float32(scoring.scale)).reshape(sequences, count, shared, heads // shared, width)
    mixed = np.empty_like(scaled)
    for sequence in range(sequences):
        for head in range(shared):
            held = keys[sequence, head], values[sequence, head]
            _attend_head(scaled[sequence, :, head], *held, scoring, mixed[sequence, :, head])
    return mixed.reshape(sequences, count, heads * width)


def _attend_head(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, scoring: Scoring, mixed: np.ndarray
) -> None:
    """One key-value head: `queries` and `mixed`, which is filled, are (n, heads that share it, head width)."""
    count, group, width = queries.shape
    positions = len(keys)
    block = max(1, _SCORES // (group * positions))
    for start in range(0, count, block):
        stop = min(start + block, count)
        seen = positions - count + stop
        oldest = max(0, seen - (stop - start) - scoring.window + 1) if scoring.window else 0
        scores = (queries[start:stop].reshape(-1, width) @ keys[oldest:seen].T).reshape(stop - start, group, -1)
        if scoring.cap:
            scores = np.tanh(scores / np.float32(scoring.cap)) * np.float32(scoring.cap)
        scores[..., seen - oldest - (stop - start) :] += _later(stop - start)
        if scoring.window and seen - oldest > scoring.window:
            scores += _forgotten(stop - start, seen - oldest, scoring.window)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        blend = scores.reshape(-1, seen - oldest) @ values[oldest:seen]
        mixed[start:stop] = blend.reshape(stop - start, group, width) / scores.sum(axis=-1, keepdims=True)


@lru_cache(maxsize=8)
def _later(size: int) -> np.ndarray:
    """What to add to the scores (size, heads, size) of as many queries and their own positions: -inf after each."""
    return np.triu(np.full((size, size), -np.inf, np.float32), k=1)[:, None]


def _forgotten(count: int, positions: int, window: int) -> np.ndarray:
    """What to add to the scores (count, heads, positions) of the last `count` positions: -inf before each's window."""
    ages = np.arange(positions - count, positions)[:, None] - np.arange(positions)
    return np.where(ages >= window, np.float32(-np.inf), np.float32(0))[:, None]

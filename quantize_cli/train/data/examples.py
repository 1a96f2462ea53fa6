"""Chunks of tokens to train on, and those that are held out."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """What a step sees."""

    tokens: np.ndarray
    """(size, context) int32."""
    counted: np.ndarray
    """(size, context) bool, as in `Examples`."""


@dataclass(frozen=True)
class Examples:
    """Chunks of equal length; those that are held out no step sees."""

    tokens: np.ndarray
    """(chunks, context) int32."""
    counted: np.ndarray
    """(chunks, context) bool: whether the prediction of this token counts.

    Not of a chunk's first token, which nothing precedes, of one that begins a text, of a prompt, of padding.
    """
    held_tokens: np.ndarray
    held_counted: np.ndarray

    def batch(self, step: int, seed: int, size: int) -> Batch:
        """The chunks of step 0, 1, ..., those that `chunks` names."""
        chunks = self.chunks(step, seed, size)
        return Batch(self.tokens[chunks], self.counted[chunks])

    def chunks(self, step: int, seed: int, size: int) -> np.ndarray:
        """The numbers of the chunks of a step, (size,); a function of these numbers alone.

        All chunks are seen once in an order drawn from the seed, then once in another, and so on.
        """
        count = len(self.tokens)
        turns = [divmod(number, count) for number in range(step * size, (step + 1) * size)]
        return np.array([_order(count, seed, epoch)[index] for epoch, index in turns])

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all tokens, which of them count, and which chunks are held out."""
        digest = hashlib.sha256()
        for tokens, counted in ((self.tokens, self.counted), (self.held_tokens, self.held_counted)):
            digest.update(np.array(tokens.shape, "<i8").tobytes())
            digest.update(tokens.astype("<i4").tobytes())
            digest.update(counted.astype("u1").tobytes())
        return digest.hexdigest()


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)

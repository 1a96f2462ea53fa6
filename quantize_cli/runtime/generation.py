"""Text continued token by token."""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.sampler import greedy
from quantize_cli.runtime.transformer import Transformer

_PART = 512
"""Tokens of a prompt run at once, so that what lies between layers does not grow with the prompt."""


def generate(
    transformer: Transformer,
    tokens: np.ndarray,
    count: int,
    stop_ids: Collection[int] = (),
    choose: Callable[[np.ndarray], int] = greedy,
) -> Iterator[int]:
    """Yield up to `count` tokens that continue `tokens` (n,), ending before any of `stop_ids`.

    `choose` picks a token given the logits (vocabulary,).
    """
    text = GeneratedText(transformer, len(tokens) + count)
    yield from text.continued(tokens.tolist(), count, stop_ids, choose)


class GeneratedText:
    """Tokens a transformer has read, up to `capacity` of them, and can go on from."""

    def __init__(self, transformer: Transformer, capacity: int) -> None:
        self._transformer = transformer
        self._cache = Cache(transformer.hyperparameters, capacity)
        self._read: list[int] = []

    @property
    def capacity(self) -> int:
        return self._cache.capacity

    def continued(
        self,
        tokens: list[int],
        count: int,
        stop_ids: Collection[int] = (),
        choose: Callable[[np.ndarray], int] = greedy,
    ) -> Iterator[int]:
        """As `generate`, after making the text `tokens`; what it already begins with is not read again.

        An interruption leaves it usable.
        """
        latest = self._unread(tokens)
        for index in range(count):
            chosen = choose(self._logits(latest))
            if chosen in stop_ids:
                return
            yield chosen
            latest = [chosen]
            if len(tokens) + index + 1 == self.capacity:
                return

    def _unread(self, tokens: list[int]) -> list[int]:
        """Forget what `tokens` does not begin with; gives the rest of it, at least the last."""
        del self._read[self._cache.length :]
        same = 0
        for old, new in zip(self._read, tokens[:-1], strict=False):
            if old != new:
                break
            same += 1
        self._cache.rewind(same)
        del self._read[same:]
        return tokens[same:]

    def _logits(self, tokens: list[int]) -> np.ndarray:
        """What comes after some further tokens, (vocabulary,)."""
        # Noted first: if reading is interrupted, the length of the cache tells how many of these were read.
        self._read += tokens
        return predict_after(self._transformer, np.array(tokens), self._cache)


def predict_after(transformer: Transformer, tokens: np.ndarray, cache: Cache) -> np.ndarray:
    """As `Transformer.predict`, of a prompt (n,) of any length."""
    last = (len(tokens) - 1) // _PART * _PART
    for start in range(0, last, _PART):
        transformer.hidden(tokens[start : start + _PART], cache)
    return transformer.predict(tokens[last:], cache)

"""Text continued token by token."""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.transformer import Transformer


def greedy(logits: np.ndarray) -> int:
    """The likeliest token of logits (vocabulary,); the lowest of equals."""
    return int(np.argmax(logits))


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
    cache = Cache(transformer.hyperparameters, len(tokens) + count)
    latest = np.asarray(tokens)
    for _ in range(count):
        chosen = choose(transformer.project(transformer.hidden(latest, cache)[-1]))
        if chosen in stop_ids:
            return
        yield chosen
        latest = np.array([chosen])

"""The loss on chunks that no step sees."""

from collections.abc import Callable

import torch
from torch import Tensor

from quantize_cli.train.runner.phase import Training

_CHUNKS = 32
"""Of which a look takes the mean."""


def held_out_mean(training: Training, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], float]:
    """A function that gives the mean over held-out tokens of a loss of tokens (sequences, n) and which of them count.

    The first token of a chunk is predicted by nothing.
    """
    tokens, counted = training.held_out(_CHUNKS)
    size, all_counted = training.job.batch, counted[:, 1:].sum().clamp(min=1)

    @torch.no_grad()
    def watched() -> float:
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(tokens), size):
            part = slice(start, start + size)
            share = counted[part, 1:].sum() / all_counted
            total += (loss(tokens[part], counted[part]) * share).double().cpu()
        return float(total)

    return watched

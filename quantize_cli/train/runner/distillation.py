"""What a quantized model loses against the float one it was made of: the divergence of its predictions.

The float model's predictions say more of each token than the text does, so that little text suffices (Hinton et al.
2015; LLM-QAT, Liu et al. 2023).
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.phase import Training

_LOGITS = 1 << 24
"""Held at once, 64 MiB of float32: those of all tokens of a batch would take more memory than the model."""
_WATCHED = 32
"""Held-out chunks of which a look takes the mean."""


def divergence_loss(training: Training) -> Callable[[int], Tensor]:
    """The loss of a step by its number: the mean divergence in nats on a batch of the text."""

    def loss(step: int) -> Tensor:
        tokens, counted = training.batch(step)
        return divergence(training, tokens, counted)

    return loss


def held_out_divergence(training: Training) -> Callable[[], float]:
    """A function that gives the mean divergence in nats on chunks that no step sees."""
    tokens, counted = training.held_out(_WATCHED)
    size = training.job.batch

    @torch.no_grad()
    def watched() -> float:
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(tokens), size):
            part = slice(start, start + size)
            share = counted[part].sum() / counted.sum()
            total += (divergence(training, tokens[part], counted[part]) * share).double().cpu()
        return float(total)

    return watched


def divergence(training: Training, tokens: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted tokens (sequences, n) of KL(float || quantized) of the prediction after them, in nats."""
    decoder = training.decoder
    quantized = _decoded_once(training)
    with torch.no_grad():
        original_hidden = decoder.hidden(tokens, training.original)[counted]
    hidden = decoder.hidden(tokens, quantized)[counted]
    quantized(decoder.output.rows.name)  # before it is checkpointed: what is computed again must find it in the cache
    rows = max(1, _LOGITS // decoder.vocabulary)
    total = hidden.new_zeros(())
    for part, original_part in zip(torch.split(hidden, rows), torch.split(original_hidden, rows), strict=True):
        total = total + checkpoint(_summed, training, quantized, part, original_part, use_reentrant=False)
    return total / len(hidden)


def _decoded_once(training: Training) -> Weights:
    """The quantized model's matrices, each decoded once in a step: an embedding may be the output matrix too.

    Those of checkpointed blocks are decoded again whenever they are used: what is computed again must do what was done.
    """
    decoder, decoded = training.decoder, cache(training.quantized)
    kept = {decoder.embedding_name, decoder.output.rows.name}
    return lambda name: decoded(name) if name in kept or not decoder.checkpointing else training.quantized(name)


def _summed(training: Training, quantized: Weights, hidden: Tensor, original_hidden: Tensor) -> Tensor:
    """The divergence of predictions from hidden states (n, width), summed over them."""
    decoder = training.decoder
    with torch.no_grad():
        expected = functional.log_softmax(decoder.head(original_hidden, training.original), dim=-1)
    predicted = functional.log_softmax(decoder.head(hidden, quantized), dim=-1)
    return functional.kl_div(predicted, expected, reduction="sum", log_target=True)

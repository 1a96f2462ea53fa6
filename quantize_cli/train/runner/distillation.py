"""What a quantized model loses against the float one it was made of: in its predictions, and on the way to them.

The float model's predictions say more of each token than the text does, so that little text suffices (Hinton et al.
2015; LLM-QAT, Liu et al. 2023). What it holds after each layer says where an error began, so that fewer steps do
(as in TinyBERT, Jiao et al. 2020).
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.held_out import held_out_mean
from quantize_cli.train.runner.phase import Training

_LOGITS = 1 << 24
"""Held at once, 64 MiB of float32: those of all tokens of a batch would take more memory than the model."""
_FLOOR = 1e-6
"""Added to a token's mean square."""


def distillation_loss(training: Training) -> Callable[[int], Tensor]:
    """The loss of a step by its number, on a batch of the text: the divergence plus the mean error of the layers."""

    def loss(step: int) -> Tensor:
        tokens, counted = training.batch(step)
        divergence, error = _losses(training, tokens, counted)
        return divergence + error / len(training.decoder.blocks)

    return loss


def divergence_loss(training: Training) -> Callable[[int], Tensor]:
    """The loss of a step by its number: the mean divergence in nats on a batch of the text."""
    return lambda step: _losses(training, *training.batch(step))[0]


def held_out_divergence(training: Training) -> Callable[[], float]:
    """A function that gives the mean divergence in nats on chunks that no step sees."""
    return held_out_mean(training, lambda tokens, counted: _losses(training, tokens, counted)[0])


def relative_error(stream: Tensor, original: Tensor) -> Tensor:
    """Mean over tokens (sequences, n) of the square error over the mean square: what comes next divides by its root."""
    error = (stream - original).float().square().mean(-1)
    return (error / (original.float().square().mean(-1) + _FLOOR)).mean()


def _losses(training: Training, tokens: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of KL(float || quantized) of the predictions of tokens that count, and the layers' errors summed."""
    decoder, original = training.decoder, training.original
    quantized = _decoded_once(training)
    turns = decoder.turns(tokens.shape[1])
    with torch.no_grad():
        expected = decoder.embed(tokens, original)
    stream = decoder.embed(tokens, quantized)
    error = stream.new_zeros((), dtype=torch.float32)
    for block in decoder.blocks:
        with torch.no_grad():
            expected = decoder.run(block, expected, turns, original)
        stream = decoder.run(block, stream, turns, quantized)
        error = error + relative_error(stream, expected)
    counts = counted[:, 1:]
    return _divergence(training, quantized, stream[:, :-1][counts], expected[:, :-1][counts]), error


def _decoded_once(training: Training) -> Weights:
    """The quantized model's matrices, each decoded once in a step: an embedding may be the output matrix too.

    Those of checkpointed blocks are decoded again whenever they are used: what is computed again must do what was done.
    """
    decoder, decoded = training.decoder, cache(training.quantized)
    kept = {decoder.embedding_name, decoder.output.rows.name}
    return lambda name: decoded(name) if name in kept or not decoder.checkpointing else training.quantized(name)


def _divergence(training: Training, quantized: Weights, hidden: Tensor, expected: Tensor) -> Tensor:
    """The mean divergence of predictions from hidden states (n, width)."""
    decoder = training.decoder
    quantized(decoder.output.rows.name)  # before it is checkpointed: what is computed again must be in the cache
    rows = max(1, _LOGITS // decoder.vocabulary)
    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        total = total + checkpoint(_summed, training, quantized, hidden[part], expected[part], use_reentrant=False)
    return total / max(1, len(hidden))


def _summed(training: Training, quantized: Weights, hidden: Tensor, expected: Tensor) -> Tensor:
    """The divergence of predictions from hidden states (n, width), summed over them."""
    decoder = training.decoder
    with torch.no_grad():
        log_p = functional.log_softmax(decoder.head(expected, training.original), dim=-1)
    log_q = functional.log_softmax(decoder.head(hidden, quantized), dim=-1)
    return functional.kl_div(log_q, log_p, reduction="sum", log_target=True)

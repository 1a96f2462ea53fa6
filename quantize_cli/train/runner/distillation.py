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

from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.held_out import held_out_mean
from quantize_cli.train.runner.logits import mean_in_parts
from quantize_cli.train.runner.phase import Training

_FLOOR = 1e-6
"""Added to a token's mean square."""


def distillation_loss(training: Training) -> Callable[[int], Tensor]:
    """The loss of a step by its number, on a batch of the text: the divergence plus the mean error of the layers."""

    def loss(step: int) -> Tensor:
        tokens, counted = training.batch(step)
        divergence, error = _losses(training, tokens, counted, layers=True)
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


def _losses(training: Training, tokens: Tensor, counted: Tensor, layers: bool = False) -> tuple[Tensor, Tensor | float]:
    """The mean of KL(float || quantized) of the predictions of tokens that count, and if asked the `layers`' errors.

    These are summed over layers.
    """
    decoder, original, quantized = training.decoder, training.original, _decoded_once(training)
    turns = decoder.turns(tokens.shape[1])
    error: Tensor | float = 0.0
    with torch.no_grad():
        expected = decoder.embed(tokens, original)
    stream = decoder.embed(tokens, quantized)
    for block in decoder.blocks:
        with torch.no_grad():
            expected = decoder.run(block, expected, turns, original)
        stream = decoder.run(block, stream, turns, quantized)
        if layers:
            error = error + relative_error(stream, expected)
    counts = counted[:, 1:]
    quantized(decoder.output.rows.name)  # before it is checkpointed: what is computed again must be in the cache

    def summed(hidden: Tensor, hidden_expected: Tensor) -> Tensor:
        with torch.no_grad():
            log_p = functional.log_softmax(decoder.head(hidden_expected, original), dim=-1)
        log_q = functional.log_softmax(decoder.head(hidden, quantized), dim=-1)
        return functional.kl_div(log_q, log_p, reduction="sum", log_target=True)

    hidden, hidden_expected = (part[:, :-1][counts] for part in (stream, expected))
    return mean_in_parts(summed, decoder.vocabulary, hidden, hidden_expected), error


def _decoded_once(training: Training) -> Weights:
    """The quantized model's matrices, each decoded once in a step: an embedding may be the output matrix too.

    Those of checkpointed blocks are decoded again whenever they are used: what is computed again must do what was done.
    """
    decoder, decoded = training.decoder, cache(training.quantized)
    kept = {decoder.embedding_name, decoder.output.rows.name}
    return lambda name: decoded(name) if name in kept or not decoder.checkpointing else training.quantized(name)

"""How likely a text is to a model that is fine-tuned: the cross-entropy of the tokens that count."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from quantize_cli.train.decoder.decoder import Decoder
from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.held_out import held_out_mean
from quantize_cli.train.runner.logits import mean_in_parts
from quantize_cli.train.runner.phase import Training


def likelihood_loss(training: Training, weights: Weights) -> Callable[[int], Tensor]:
    """The loss of a step by its number: the mean of -ln p on a batch of the text."""

    def loss(step: int) -> Tensor:
        tokens, counted = training.batch(step)
        return cross_entropy(training.decoder, tokens, counted, weights)

    return loss


def held_out_likelihood(training: Training, weights: Weights) -> Callable[[], float]:
    """A function that gives the mean of -ln p on chunks that no step sees."""
    return held_out_mean(training, lambda tokens, counted: cross_entropy(training.decoder, tokens, counted, weights))


def cross_entropy(decoder: Decoder, tokens: Tensor, counted: Tensor, weights: Weights) -> Tensor:
    """Mean of -ln p in nats over the tokens (sequences, n) i64 that count, each predicted from those before it.

    The first token of a chunk is predicted by nothing. Zero where none counts.
    """
    counts = counted[:, 1:]
    hidden, target = decoder.hidden(tokens[:, :-1], weights)[counts], tokens[:, 1:][counts]

    def summed(hidden: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(decoder.head(hidden, weights), target, reduction="sum")

    return mean_in_parts(summed, decoder.vocabulary, hidden, target)

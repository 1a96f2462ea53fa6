"""What a model has to read and compute for each token, counted from its matrices."""

from collections.abc import Iterator
from dataclasses import dataclass

from quantize_cli.formats.ggml import row_nbytes
from quantize_cli.runtime.layer import FeedForward, Layer, Linear
from quantize_cli.runtime.matrix import Product
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.transformer import Transformer


@dataclass(frozen=True)
class Work:
    """Of experts, as many count as a token is sent to."""

    layer_weights: float
    """Weights each token is multiplied by."""
    output_weights: int
    """Weights of the output matrix, which only those tokens meet whose successor is asked for."""
    token_nbytes: float
    """Bytes of all these, as stored."""

    def operations(self, tokens: int) -> float:
        """Multiplications and additions of a prompt of `tokens`, of whose successors the last is asked for."""
        return 2 * (self.layer_weights * tokens + self.output_weights)


def count(transformer: Transformer) -> Work:
    """The work of one token; attention, whose work grows with the text, and vectors are left out."""
    used = [part for layer in transformer.layers for part in _of_layer(layer)]
    output = transformer.output.matrix
    return Work(
        layer_weights=sum(share * _weights(matrix) for matrix, share in used),
        output_weights=_weights(output),
        token_nbytes=sum(share * _nbytes(matrix) for matrix, share in [*used, (output, 1.0)]),
    )


def _weights(matrix: Product) -> int:
    return matrix.tensor.row_count * matrix.tensor.columns


def _nbytes(matrix: Product) -> int:
    return matrix.tensor.row_count * row_nbytes(matrix.tensor.type, matrix.tensor.columns)


def _of_layer(layer: Layer) -> Iterator[tuple[Product, float]]:
    """Each matrix, and how much of it a token needs."""
    for linear in (layer.query, layer.key, layer.value, layer.attention_output):
        yield linear.matrix, 1.0
    part = layer.feed_forward
    if isinstance(part, FeedForward):
        yield from _of_feed_forward(part, 1.0)
    elif isinstance(part, Mixture):
        yield part.router.matrix, 1.0
        for expert in part.experts:
            yield from _of_feed_forward(expert, part.used / len(part.experts))
        if part.shared is not None:
            yield from _of_feed_forward(part.shared, 1.0)


def _of_feed_forward(part: FeedForward, share: float) -> Iterator[tuple[Product, float]]:
    linears: tuple[Linear | None, ...] = (part.gate, part.up, part.down)
    yield from ((linear.matrix, share) for linear in linears if linear is not None)

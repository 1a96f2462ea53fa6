"""What a model has to read and compute for each token, counted from its matrices."""

from collections.abc import Iterator
from dataclasses import dataclass

from quantize_cli.formats.ggml import row_nbytes
from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.mixture import Mixture
from quantize_cli.runtime.substitution import tensors
from quantize_cli.runtime.transformer import Transformer


@dataclass(frozen=True)
class Work:
    """Of experts, as many count as a token is sent to."""

    layer_weights: float
    """Weights each token is multiplied by."""
    output_weights: int
    """Weights of the output matrix, which multiplies the last token of a prompt alone."""
    token_nbytes: float
    """Bytes of all these, as stored."""

    def operations(self, tokens: int) -> float:
        """Multiplications and additions for a prompt of `tokens`."""
        return 2 * (self.layer_weights * tokens + self.output_weights)


def count(transformer: Transformer) -> Work:
    """The work of one token; attention, whose work grows with the text, and vectors are left out."""
    used = [part for layer in transformer.layers for part in _of_layer(layer)]
    output = transformer.output.matrix.tensor
    return Work(
        layer_weights=sum(share * _weights(tensor) for tensor, share in used),
        output_weights=_weights(output),
        token_nbytes=sum(share * _nbytes(tensor) for tensor, share in [*used, (output, 1.0)]),
    )


def _weights(tensor: Tensor) -> int:
    return tensor.row_count * tensor.columns


def _nbytes(tensor: Tensor) -> int:
    return tensor.row_count * row_nbytes(tensor.type, tensor.columns)


def _of_layer(layer: Layer) -> Iterator[tuple[Tensor, float]]:
    """Each matrix, and the share of tokens that it multiplies."""
    part = layer.feed_forward
    of_experts = part.used / len(part.experts) if isinstance(part, Mixture) else 1.0
    for tensor in tensors(layer):
        yield tensor, of_experts if "_exps." in tensor.name else 1.0

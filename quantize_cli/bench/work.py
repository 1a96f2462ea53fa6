"""What a model has to read and compute for each token, counted from its matrices."""

from dataclasses import dataclass

from quantize_cli.formats.ggml import row_nbytes
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
    layer_weights = token_nbytes = 0.0
    for layer in transformer.layers:
        part = layer.feed_forward
        of_experts = part.used / len(part.experts) if isinstance(part, Mixture) else 1.0
        for tensor in tensors(layer):
            share = of_experts if "_exps." in tensor.name else 1.0
            layer_weights += share * (tensor.row_count * tensor.columns)
            token_nbytes += share * (tensor.row_count * row_nbytes(tensor.type, tensor.columns))
    output = transformer.output.matrix.tensor
    token_nbytes += output.row_count * row_nbytes(output.type, output.columns)
    return Work(layer_weights, output.row_count * output.columns, token_nbytes)

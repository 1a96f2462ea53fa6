"""What errors of token embeddings cost, which are looked up, not multiplied: so they too can be rounded with feedback.

An error in what a token enters with is divided by the norm of each layer and then multiplied by the matrices that read
it. To first order, and as if nothing happened between, e costs e M e^T with

    M = sum over layers of (1 / mean square of the layer's input) * sum over its readers W of  N W^T W N

N being the norm's weights on a diagonal. The first layer counts most, as the stream grows from layer to layer.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from quantize_cli.jit.matrices import add_gram
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.quants import decode

_READERS = (
    ("attn_norm", ("attn_q", "attn_k", "attn_v", "attn_qkv")),
    ("ffn_norm", ("ffn_gate", "ffn_up")),
)
_ROWS = 4096


def metric(model: Model, mean_squares: Sequence[float], threads: int = 1) -> np.ndarray:
    """M (width, width) f64; `mean_squares` are those of the inputs of each layer, and of the last norm."""
    tensors = {tensor.name: tensor for tensor in model.tensors}
    width = tensors["token_embd.weight"].columns
    cost = np.zeros((width, width))
    for layer, mean_square in enumerate(mean_squares[:-1]):
        for norm, readers in _READERS:
            names = [f"blk.{layer}.{reader}.weight" for reader in readers]
            cost += _seen(tensors, f"blk.{layer}.{norm}.weight", names, threads) / mean_square
    return cost + _seen(tensors, "output_norm.weight", ["output.weight"], threads) / mean_squares[-1]


def _seen(tensors: Mapping[str, Tensor], norm: str, readers: Sequence[str], threads: int) -> np.ndarray:
    """N W^T W N summed over those readers W that there are."""
    width = tensors["token_embd.weight"].columns
    gram = np.zeros((width, width))
    for reader in (tensors[name] for name in readers if name in tensors):
        for start in range(0, reader.row_count, _ROWS):
            rows = decode(reader.type, reader.read(start, min(start + _ROWS, reader.row_count)))
            add_gram(gram, rows, threads=threads)
    weight = np.ones(width)
    if norm in tensors:
        weight = decode(tensors[norm].type, tensors[norm].read(0, 1))[0].astype(np.float64)
    return gram * weight * weight[:, None]

"""Takes a model's tensors one by one, checked, and refuses what is left: an unused tensor means another computation."""

import numpy as np

from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.quants import decode
from quantize_cli.runtime.hyperparameters import Described, Hyperparameters
from quantize_cli.runtime.layer import FeedForward, Layer, Linear, Norm
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.tensor import Tensor

HOLD_NBYTES = 2 << 30
"""Models whose float32 weights fit this are decoded once: 500 million parameters."""


class Parts:
    """The tensors of a model, by name, until they are taken."""

    def __init__(self, model: Described, hyperparameters: Hyperparameters, hold_nbytes: int = HOLD_NBYTES) -> None:
        self._path = model.path
        self._sizes = hyperparameters
        self._left = {tensor.name: tensor for tensor in model.tensors}
        self._held = sum(4 * tensor.row_count * tensor.columns for tensor in model.tensors) <= hold_nbytes

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def matrix(self, name: str, rows: int | None, columns: int) -> Matrix:
        """A required matrix of `rows` (any number if None) and `columns`."""
        if name not in self._left:
            raise InputError(f"{self._path}: tensor '{name}' is missing")
        tensor = self._left.pop(name)
        self._check(tensor, (tensor.row_count if rows is None else rows, columns))
        return Matrix(tensor, self._held)

    def vector(self, name: str, columns: int) -> np.ndarray | None:
        """A vector of `columns` float32 weights; None if the model has no such tensor."""
        if name not in self._left:
            return None
        tensor = self._left.pop(name)
        self._check(tensor, (columns,))
        weights: np.ndarray = decode(tensor.type, tensor.read(0, 1))[0]
        return weights

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        return Linear(self.matrix(f"{name}.weight", rows, columns), self.vector(f"{name}.bias", rows))

    def norm(self, name: str, columns: int) -> Norm:
        weight = self.vector(f"{name}.weight", columns)
        if weight is None:
            raise InputError(f"{self._path}: tensor '{name}.weight' is missing")
        bias = self.vector(f"{name}.bias", columns)
        return Norm(weight, bias, self._sizes.epsilon, self._sizes.family.layer_norms)

    def refuse_leftovers(self) -> None:
        if self._left:
            name = next(iter(self._left))
            raise InputError(f"{self._path}: tensor {quoted(name)} has no place in a model this runtime knows")

    def _check(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tensor.shape != shape:
            where = f"{self._path}: tensor {quoted(tensor.name)}"
            raise InputError(f"{where} has shape {tensor.shape}, its metadata says {shape}")


def read_layer(parts: Parts, sizes: Hyperparameters, index: int) -> Layer:
    """The parts of block `index`; queries, keys and values may be one fused matrix or three."""
    prefix = f"blk.{index}"
    query = sizes.heads * sizes.head_width
    key = sizes.key_value_heads * sizes.head_width
    rows = {"attn_q": query, "attn_k": key, "attn_v": key}
    if f"{prefix}.attn_qkv.weight" in parts:
        rows = {"attn_qkv": query + 2 * key}
    head_norms = sizes.family.head_norms
    return Layer(
        attention_norm=parts.norm(f"{prefix}.attn_norm", sizes.width),
        projections=tuple(parts.linear(f"{prefix}.{name}", count, sizes.width) for name, count in rows.items()),
        query_norm=parts.norm(f"{prefix}.attn_q_norm", sizes.head_width) if head_norms else None,
        key_norm=parts.norm(f"{prefix}.attn_k_norm", sizes.head_width) if head_norms else None,
        attention_output=parts.linear(f"{prefix}.attn_output", sizes.width, query),
        feed_forward_norm=parts.norm(f"{prefix}.ffn_norm", sizes.width),
        feed_forward=_read_feed_forward(parts, sizes, prefix),
    )


def _read_feed_forward(parts: Parts, sizes: Hyperparameters, prefix: str) -> FeedForward:
    inner, width = sizes.feed_forward, sizes.width
    return FeedForward(
        gate=parts.linear(f"{prefix}.ffn_gate", inner, width) if sizes.family.gated else None,
        up=parts.linear(f"{prefix}.ffn_up", inner, width),
        down=parts.linear(f"{prefix}.ffn_down", width, inner),
    )

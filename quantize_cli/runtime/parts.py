"""Takes a model's tensors one by one, checked, and refuses what is left: an unused tensor means another computation."""

from dataclasses import replace

import numpy as np

from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.quants import decode
from quantize_cli.runtime.hyperparameters import Described, Hyperparameters, Mixing
from quantize_cli.runtime.layer import FeedForward, Layer, Linear, Norm, gelu, silu
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.mixture import Mixture
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
        tensor = self._take(name)
        self._check(tensor, (tensor.row_count if rows is None else rows, columns))
        return Matrix(tensor, self._held)

    def matrices(self, name: str, count: int, rows: int, columns: int) -> tuple[Matrix, ...]:
        """A required tensor of `count` matrices, each of which is read alone."""
        tensor = self._take(name)
        self._check(tensor, (count, rows, columns))
        return tuple(Matrix(_slab(tensor, index), self._held) for index in range(count))

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

    def row(self, name: str, columns: int) -> Matrix:
        """A required matrix of one row, which a file may also call a vector."""
        tensor = self._take(name)
        if tensor.shape != (columns,):
            self._check(tensor, (1, columns))
        return Matrix(replace(tensor, shape=(1, columns)), self._held)

    def refuse_leftovers(self) -> None:
        if self._left:
            name = next(iter(self._left))
            raise InputError(f"{self._path}: tensor {quoted(name)} has no place in a model this runtime knows")

    def _take(self, name: str) -> Tensor:
        if name not in self._left:
            raise InputError(f"{self._path}: tensor '{name}' is missing")
        return self._left.pop(name)

    def _check(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tensor.shape != shape:
            where = f"{self._path}: tensor {quoted(tensor.name)}"
            raise InputError(f"{where} has shape {tensor.shape}, its metadata says {shape}")


def _slab(tensor: Tensor, index: int) -> Tensor:
    """Matrix `index` of a tensor (matrices, rows, columns), which are stored one after the other."""
    rows = tensor.shape[1]
    first = index * rows
    return replace(tensor, shape=tensor.shape[1:], read=lambda start, stop: tensor.read(first + start, first + stop))


def read_layer(parts: Parts, sizes: Hyperparameters, index: int) -> Layer:
    """The parts of block `index`; queries, keys and values may be one fused matrix or three."""
    prefix, family = f"blk.{index}", sizes.family
    query = sizes.heads * sizes.head_width
    key = sizes.key_value_heads * sizes.head_width
    rows = {"attn_q": query, "attn_k": key, "attn_v": key}
    if f"{prefix}.attn_qkv.weight" in parts:
        rows = {"attn_qkv": query + 2 * key}

    def norm(name: str, wanted: bool, columns: int = sizes.width) -> Norm | None:
        return parts.norm(f"{prefix}.{name}", columns) if wanted else None

    return Layer(
        attention_norm=parts.norm(f"{prefix}.attn_norm", sizes.width),
        projections=tuple(parts.linear(f"{prefix}.{name}", count, sizes.width) for name, count in rows.items()),
        query_norm=norm("attn_q_norm", family.head_norms, sizes.head_width),
        key_norm=norm("attn_k_norm", family.head_norms, sizes.head_width),
        attention_output=parts.linear(f"{prefix}.attn_output", sizes.width, query),
        attention_post_norm=norm("post_attention_norm", family.post_norms),
        feed_forward_norm=parts.norm(f"{prefix}.ffn_norm", sizes.width),
        feed_forward=_feed_forward(parts, sizes, prefix) if sizes.mixing is None else _mixture(parts, sizes, prefix),
        feed_forward_post_norm=norm("post_ffw_norm", family.post_norms),
        window=sizes.windows[index],
    )


def _feed_forward(parts: Parts, sizes: Hyperparameters, prefix: str) -> FeedForward:
    inner, width, family = sizes.feed_forward, sizes.width, sizes.family
    separate_gate = family.gated and not family.gate_in_up
    return FeedForward(
        gate=parts.linear(f"{prefix}.ffn_gate", inner, width) if separate_gate else None,
        up=parts.linear(f"{prefix}.ffn_up", 2 * inner if family.gate_in_up else inner, width),
        down=parts.linear(f"{prefix}.ffn_down", width, inner),
        act=gelu if family.gelu else silu,
        gate_in_up=family.gate_in_up,
    )


def _mixture(parts: Parts, sizes: Hyperparameters, prefix: str) -> Mixture:
    assert sizes.mixing is not None
    mixing, width = sizes.mixing, sizes.width
    inner = mixing.feed_forward
    gates = parts.matrices(f"{prefix}.ffn_gate_exps.weight", mixing.count, inner, width)
    ups = parts.matrices(f"{prefix}.ffn_up_exps.weight", mixing.count, inner, width)
    downs = parts.matrices(f"{prefix}.ffn_down_exps.weight", mixing.count, width, inner)
    return Mixture(
        router=parts.linear(f"{prefix}.ffn_gate_inp", mixing.count, width),
        experts=tuple(
            FeedForward(Linear(gate, None), Linear(up, None), Linear(down, None), silu)
            for gate, up, down in zip(gates, ups, downs, strict=True)
        ),
        used=mixing.used,
        normalized=mixing.family.normalized,
        shared=_shared_expert(parts, mixing, prefix, width) if mixing.family.shared else None,
        shared_gate=Linear(parts.row(f"{prefix}.ffn_gate_inp_shexp.weight", width), None)
        if mixing.family.shared
        else None,
    )


def _shared_expert(parts: Parts, mixing: Mixing, prefix: str, width: int) -> FeedForward:
    inner = mixing.shared_feed_forward
    return FeedForward(
        gate=parts.linear(f"{prefix}.ffn_gate_shexp", inner, width),
        up=parts.linear(f"{prefix}.ffn_up_shexp", inner, width),
        down=parts.linear(f"{prefix}.ffn_down_shexp", width, inner),
        act=silu,
    )

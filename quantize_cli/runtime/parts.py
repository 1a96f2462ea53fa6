"""Takes a model's tensors one by one, checked, and refuses what is left: an unused tensor means another computation."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.tensor import Tensor, refuse_not_finite
from quantize_cli.quants import decode, supported
from quantize_cli.runtime.family import Family
from quantize_cli.runtime.hyperparameters import HasMetadata, Hyperparameters
from quantize_cli.runtime.layer import FeedForward, Layer, Linear, Norm
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.mixture import Mixture


class Parts:
    """The tensors of a model, by name, until they are taken."""

    def __init__(self, model: HasMetadata, hyperparameters: Hyperparameters) -> None:
        self._path = model.path
        self._sizes = hyperparameters
        self.matrices_made: list[Matrix] = []
        self._left = {tensor.name: tensor for tensor in model.tensors}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def matrix(self, name: str, rows: int | None, columns: int) -> Matrix:
        """A required matrix of `rows` (any number if None) and `columns`."""
        tensor = self._take(name)
        self._check(tensor, (tensor.row_count if rows is None else rows, columns))
        return self._made(tensor)

    def experts(self, name: str, count: int, rows: int, columns: int) -> tuple[Linear, ...]:
        """A required tensor of `count` matrices, each of which is read alone."""
        tensor = self._take(f"{name}.weight")
        self._check(tensor, (count, rows, columns))
        matrices = [self._made(tensor.row_range(index * rows, rows)) for index in range(count)]
        return tuple(map(Linear, matrices, repeat(None), self.scales(name, count)))

    def vector(self, name: str, columns: int) -> np.ndarray | None:
        """A vector of `columns` float32 weights; None if the model has no such tensor."""
        if name not in self._left:
            return None
        tensor = self._take(name)
        self._check(tensor, (columns,))
        weights: np.ndarray = decode(tensor.type, tensor.read(0, 1))
        refuse_not_finite(weights, tensor.origin, 0)
        vector: np.ndarray = weights[0]
        return vector

    def scales(self, name: str, count: int) -> list[float]:
        """What the products of `count` matrices are multiplied by: as said beside `name`, or by one.

        The scale of activations that stands there as well is for products in NVFP4, which are not formed here.
        """
        self._left.pop(f"{name}.input_scale", None)
        scales = self.vector(f"{name}.scale", count)
        return [1.0] * count if scales is None else scales.tolist()

    def linear(self, name: str, rows: int, columns: int) -> Linear:
        matrix, bias = self.matrix(f"{name}.weight", rows, columns), self.vector(f"{name}.bias", rows)
        return Linear(matrix, bias, *self.scales(name, 1))

    def linears(self, name: str, rows: Sequence[int], columns: int) -> tuple[Linear, ...]:
        """A required matrix of as many `rows` in all, cut into as many parts."""
        tensor, bias = self._take(f"{name}.weight"), self.vector(f"{name}.bias", sum(rows))
        self._check(tensor, (sum(rows), columns))
        starts, (scale,) = np.cumsum([0, *rows[:-1]]).tolist(), self.scales(name, 1)
        return tuple(
            Linear(
                self._made(tensor.row_range(start, count)),
                None if bias is None else bias[start : start + count],
                scale,
            )
            for start, count in zip(starts, rows, strict=True)
        )

    def norm(self, name: str, columns: int) -> Norm:
        """A required norm, or one without weights where the family has only such."""
        if self._sizes.family.bare_norms:
            ones = np.ones(columns, np.float32)
            return Norm(ones, None, self._sizes.epsilon, self._sizes.family.layer_norms)
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
        return self._made(replace(tensor, shape=(1, columns)))

    def refuse_leftovers(self) -> None:
        if self._left:
            name = next(iter(self._left))
            raise InputError(f"{self._path}: tensor {quoted(name)} has no place in a model this runtime knows")

    def _made(self, tensor: Tensor) -> Matrix:
        self.matrices_made.append(Matrix(tensor))
        return self.matrices_made[-1]

    def _take(self, name: str) -> Tensor:
        if name not in self._left:
            raise InputError(f"{self._path}: tensor '{name}' is missing")
        tensor = self._left.pop(name)
        if tensor.type not in supported():
            raise InputError(
                f"{self._path}: tensor '{name}' is of type {tensor.type.name.lower()}, which cannot be run"
            )
        return tensor

    def _check(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tensor.shape != shape:
            where = f"{self._path}: tensor {quoted(tensor.name)}"
            raise InputError(f"{where} has shape {tensor.shape}, its metadata says {shape}")


def read_layer(parts: Parts, sizes: Hyperparameters, index: int) -> Layer:
    """The parts of block `index`; queries, keys and values may be one fused matrix or three."""
    prefix, family = f"blk.{index}", sizes.family
    query = sizes.heads * sizes.head_width
    key = sizes.key_value_heads * sizes.head_width
    if f"{prefix}.attn_qkv.weight" in parts:
        projections = parts.linears(f"{prefix}.attn_qkv", (query, key, key), sizes.width)
    else:
        rows = {"attn_q": query, "attn_k": key, "attn_v": key}
        projections = tuple(parts.linear(f"{prefix}.{name}", count, sizes.width) for name, count in rows.items())

    def norm(name: str, present: bool, columns: int = sizes.width) -> Norm | None:
        return parts.norm(f"{prefix}.{name}", columns) if present else None

    all_heads = family.all_heads_normed
    attention_norm, feed_forward_norm, is_parallel = _norms(parts, sizes, prefix)
    return Layer(
        attention_norm=attention_norm,
        query=projections[0],
        key=projections[1],
        value=projections[2],
        query_norm=norm("attn_q_norm", family.head_norms, query if all_heads else sizes.head_width),
        key_norm=norm("attn_k_norm", family.head_norms, key if all_heads else sizes.head_width),
        attention_output=parts.linear(f"{prefix}.attn_output", sizes.width, query),
        attention_post_norm=norm(*_behind(family, "post_attention_norm", "attn_output_norm")),
        feed_forward_norm=feed_forward_norm,
        feed_forward=_mixture(parts, sizes, prefix)
        if sizes.mixing
        else _feed_forward(parts, sizes, prefix, sizes.feed_forward),
        feed_forward_post_norm=norm(*_behind(family, "post_ffw_norm", "layer_output_norm")),
        window=sizes.windows[index],
        rotates=sizes.rotated[index],
        is_parallel=is_parallel,
    )


def idle_norm(sizes: Hyperparameters) -> Norm:
    """What stands where other models norm."""
    return Norm(np.empty(0, np.float32), None, sizes.epsilon, sizes.family.layer_norms, is_idle=True)


def _behind(family: Family, before_addition: str, after_addition: str) -> tuple[str, bool]:
    """The name of the norm behind attention or feed-forward, and whether there is one."""
    return (after_addition, True) if family.norms_stream else (before_addition, family.post_norms)


def _norms(parts: Parts, sizes: Hyperparameters, prefix: str) -> tuple[Norm, Norm, bool]:
    """What attention and feed-forward are given normed, and whether both of the same stream."""
    family, width = sizes.family, sizes.width
    if not family.norms_before:
        idle = idle_norm(sizes)
        return idle, idle, False
    if family.first_layer_bare and prefix == "blk.0" and "blk.0.attn_norm.weight" not in parts:
        return idle_norm(sizes), parts.norm("blk.0.ffn_norm", width), False
    first = parts.norm(f"{prefix}.attn_norm", width)
    if not family.parallel or f"{prefix}.ffn_norm.weight" in parts:
        return first, parts.norm(f"{prefix}.ffn_norm", width), sizes.parallel
    own = f"{prefix}.attn_norm_2"
    return parts.norm(own, width) if f"{own}.weight" in parts else first, first, True


def _feed_forward(parts: Parts, sizes: Hyperparameters, prefix: str, inner: int, suffix: str = "") -> FeedForward:
    width, family = sizes.width, sizes.family
    gate: Linear | None = None
    if family.gate_in_up:
        gate, up = parts.linears(f"{prefix}.ffn_up", (inner, inner), width)
    else:
        gate = parts.linear(f"{prefix}.ffn_gate{suffix}", inner, width) if family.gated else None
        up = parts.linear(f"{prefix}.ffn_up{suffix}", inner, width)
    down = parts.linear(f"{prefix}.ffn_down{suffix}", width, inner)
    return FeedForward(gate, up, down, family.gelu and not sizes.adjustments.silu, family.exact_gelu)


def _mixture(parts: Parts, sizes: Hyperparameters, prefix: str) -> Mixture:
    assert sizes.mixing is not None
    mixing, width = sizes.mixing, sizes.width
    inner, shared, shared_gate = mixing.feed_forward, None, None
    if mixing.shared_feed_forward:
        shared = _feed_forward(parts, sizes, prefix, mixing.shared_feed_forward, "_shexp")
    if mixing.family.shared:
        shared_gate = Linear(parts.row(f"{prefix}.ffn_gate_inp_shexp.weight", width), None)
    stacks = [
        parts.experts(f"{prefix}.ffn_{kind}_exps", mixing.count, rows, columns)
        for kind, rows, columns in (("gate", inner, width), ("up", inner, width), ("down", width, inner))
    ]
    return Mixture(
        router=parts.linear(f"{prefix}.ffn_gate_inp", mixing.count, width),
        experts=tuple(FeedForward(gate, up, down, gelu=False) for gate, up, down in zip(*stacks, strict=True)),
        used=mixing.used,
        normalized=mixing.family.normalized,
        shared=shared,
        shared_gate=shared_gate,
    )

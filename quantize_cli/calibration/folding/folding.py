"""Where a decoder lets scales move from one matrix into what comes before it, and a model with scales so moved.

Between some tensors lie only products and sums, channel by channel. There the columns of the matrices that read the
channels may be multiplied by scales, and what makes the channels divided by them, and the model computes what it did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from quantize_cli.calibration.statistics.observer import Input
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.jit.elementary import exponential, logarithm
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.quants import decode
from quantize_cli.runtime.hyperparameters import Hyperparameters, read_hyperparameters
from quantize_cli.runtime.observed_layer import input_of

LARGEST = 32
"""No scale is larger than this or smaller than its inverse: a K-quant's block scales are float16, and those of rows
divided by more would become subnormal.
"""
_DEAD = 1e-5
"""Magnitudes count as at least this part of the largest, so that dead channels do not take up the whole range."""

_CHUNK_WEIGHTS = 1 << 22
"""Weights read at once."""


@dataclass(frozen=True)
class Producer:
    """What makes a mapping's channels: so many rows of a matrix from `start` on, or elements of a vector."""

    name: str
    start: int = 0


@dataclass(frozen=True)
class Consumer:
    """A matrix that reads a mapping's channels, one column or several for each."""

    name: str
    input: Input
    """What it is given."""
    number: int = 0
    """Which matrix it is in a stack."""
    count: int = 1
    """How many matrices are in the stack."""


@dataclass(frozen=True)
class ScaleMapping:
    """Channels that may be scaled: `producers` divided by the scales, the columns of `readers` multiplied.

    Columns come in heads of `head_width`, and so many heads in a row as `shared` says read the same channels.
    """

    channels: int
    producers: tuple[Producer, ...]
    readers: tuple[Consumer, ...]
    input: Input
    """All that passes this mapping."""
    shared: int = 1
    head_width: int = 1

    @property
    def columns(self) -> int:
        """Of each reader."""
        return self.channels * self.shared

    def spread(self, channels: np.ndarray) -> np.ndarray:
        """One value per channel (..., channels) -> one per column (..., columns)."""
        heads = channels.reshape(*channels.shape[:-1], -1, self.head_width)
        return heads.repeat(self.shared, axis=-2).reshape(*channels.shape[:-1], -1)

    def largest(self, columns: np.ndarray) -> np.ndarray:
        """One value per column (columns,) -> the largest of each channel's (channels,)."""
        largest: np.ndarray = columns.reshape(-1, self.shared, self.head_width).max(axis=1).ravel()
        return largest

    def mean(self, columns: np.ndarray) -> np.ndarray:
        """One value per column (columns,) -> the mean of each channel's (channels,)."""
        means: np.ndarray = columns.reshape(-1, self.shared, self.head_width).mean(axis=1).ravel()
        return means


def mappings(model: Model) -> tuple[tuple[ScaleMapping, ...], ...]:
    """The mappings of each layer; InputError for an architecture that the runtime does not know.

    The norm behind all layers is left alone. Most models share its matrix with the token embedding, and where one did
    not, scales that took a quarter from the squared error of its logits added 5 to 10 % to the divergence of what it
    predicts, presumably as the error counts tokens that are never likely like all others.
    """
    sizes = read_hyperparameters(model)
    present = frozenset(tensor.name for tensor in model.tensors)
    return tuple(tuple(_layer(present, sizes, f"blk.{index}")) for index in range(sizes.layers))


def _layer(present: frozenset[str], sizes: Hyperparameters, prefix: str) -> Iterator[ScaleMapping]:
    """A gate is bent before it is multiplied, and without one `up` is, so no scale passes it: only rows of a gated
    `up` are scaled. Queries and keys meet in a product of their own and are left alone.
    """
    if f"{prefix}.attn_qkv.weight" in present:
        projections, value = [f"{prefix}.attn_qkv"], f"{prefix}.attn_qkv"
        start = (sizes.heads + sizes.key_value_heads) * sizes.head_width
    else:
        projections, value, start = [f"{prefix}.attn_{name}" for name in "qkv"], f"{prefix}.attn_v", 0
    yield _behind_norm(present, f"{prefix}.attn_norm", sizes.width, _alike(projections))
    yield ScaleMapping(
        channels=sizes.key_value_heads * sizes.head_width,
        producers=_producers(present, value, start),
        readers=_alike([f"{prefix}.attn_output"]),
        input=(input_of(f"{prefix}.attn_output.weight"), 0),
        shared=sizes.heads // sizes.key_value_heads,
        head_width=sizes.head_width,
    )
    if sizes.mixing is not None:
        yield from _mixture(present, sizes, prefix)
        return
    family = sizes.family
    gate = [f"{prefix}.ffn_gate"] if family.gated and not family.gate_in_up else []
    yield _behind_norm(present, f"{prefix}.ffn_norm", sizes.width, _alike([*gate, f"{prefix}.ffn_up"]))
    if family.gated:
        yield _inner(present, prefix, sizes.feed_forward, sizes.feed_forward if family.gate_in_up else 0)


def _mixture(present: frozenset[str], sizes: Hyperparameters, prefix: str) -> Iterator[ScaleMapping]:
    """The norm is read by the router and by all experts, each of which sees the tokens it is sent."""
    assert sizes.mixing is not None
    mixing = sizes.mixing
    everywhere = ["ffn_gate_inp"]
    if mixing.family.shared:
        everywhere += ["ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp"]
    readers = list(_alike([f"{prefix}.{name}" for name in everywhere]))
    names = {kind: f"{prefix}.ffn_{kind}_exps.weight" for kind in ("gate", "up", "down")}
    for number in range(mixing.count):
        sent = input_of(names["gate"]), number
        readers += [Consumer(names[kind], sent, number, mixing.count) for kind in ("gate", "up")]
    yield _behind_norm(present, f"{prefix}.ffn_norm", sizes.width, tuple(readers))
    for number in range(mixing.count):
        inner = mixing.feed_forward
        down = Consumer(names["down"], (input_of(names["down"]), number), number, mixing.count)
        yield ScaleMapping(inner, (Producer(names["up"], number * inner),), (down,), down.input)
    if mixing.family.shared:
        yield _inner(present, prefix, mixing.shared_feed_forward, 0, "_shexp")


def _behind_norm(present: frozenset[str], norm: str, width: int, readers: tuple[Consumer, ...]) -> ScaleMapping:
    return ScaleMapping(width, _producers(present, norm, 0), readers, readers[0].input)


def _inner(present: frozenset[str], prefix: str, inner: int, start: int, suffix: str = "") -> ScaleMapping:
    """Between the `up` and the `down` of one gated feed-forward."""
    readers = _alike([f"{prefix}.ffn_down{suffix}"])
    return ScaleMapping(inner, _producers(present, f"{prefix}.ffn_up{suffix}", start), readers, readers[0].input)


def _producers(present: frozenset[str], name: str, start: int) -> tuple[Producer, ...]:
    bias = f"{name}.bias"
    return (Producer(f"{name}.weight", start), *([Producer(bias, start)] if bias in present else []))


def _alike(names: Sequence[str]) -> tuple[Consumer, ...]:
    """Matrices that are given the same, which is observed of the first."""
    return tuple(Consumer(f"{name}.weight", (input_of(f"{names[0]}.weight"), 0)) for name in names)


def live_channels(magnitudes: np.ndarray) -> np.ndarray:
    """Magnitudes (channels,) of at least 0 with those raised that are next to nothing: all above 0, f64."""
    return np.maximum(magnitudes.astype(np.float64), _DEAD * (magnitudes.max() or 1))


def bounded_scales(factors: np.ndarray) -> np.ndarray:
    """Positive numbers (..., channels) -> scales f32, in proportion, that can be folded.

    Their geometric mean is one before they are kept between 1 / LARGEST and LARGEST. They are no powers of two, which
    would change no bit of what a float model computes: those are too far apart, so that AWQ's search found next to
    nothing that helped.
    """
    logarithms = logarithm(factors)
    logarithms -= logarithms.mean(axis=-1, keepdims=True)
    limit = logarithm(np.array(LARGEST))
    return exponential(np.clip(logarithms, -limit, limit)).astype(np.float32)


class Folding:
    """Scales found for a model's mappings; nothing but their products is held."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tensors = {tensor.name: tensor for tensor in model.tensors}
        self._rows: dict[str, np.ndarray] = {}
        self._columns: dict[str, np.ndarray] = {}

    def tensor(self, name: str) -> Tensor:
        """The model's tensor of that name, unscaled; InputError when it is not stored as float numbers."""
        tensor = self._tensors[name]
        if tensor.type not in FLOAT_TYPES:
            raise InputError(
                f"{tensor.origin}: already {tensor.type.name.lower()}, not f32, f16 or bf16, so it cannot be scaled",
                hint="scales are folded into the original weights",
            )
        return tensor

    def rows(self, reader: Consumer) -> tuple[int, int]:
        """The rows [start, stop) of its tensor that are the reader's matrix."""
        count = prod(self.tensor(reader.name).shape[-2:-1])
        return reader.number * count, (reader.number + 1) * count

    def weights(self, reader: Consumer, step: int = 1) -> Iterator[np.ndarray]:
        """The reader's matrix, unscaled, of which only every `step`-th row: some rows at a time, (n, columns) f32."""
        tensor = self.tensor(reader.name)
        start, stop = self.rows(reader)
        count = max(1, _CHUNK_WEIGHTS // (tensor.columns * step)) * step
        for first in range(start, stop, count):
            yield decode(tensor.type, tensor.read(first, min(first + count, stop))[::step])

    def add(self, mapping: ScaleMapping, scales: np.ndarray) -> None:
        """Fold scales (channels,) f32 into a mapping, on top of what was folded before; ones change nothing."""
        if (scales == 1).all():
            return
        for producer in mapping.producers:
            tensor, part = self.tensor(producer.name), slice(producer.start, producer.start + mapping.channels)
            if len(tensor.shape) == 1:
                self._factors(self._columns, producer.name, (1, tensor.columns))[0, part] /= scales
            else:
                self._factors(self._rows, producer.name, (tensor.row_count,))[part] /= scales
        for reader in mapping.readers:
            shape = reader.count, self.tensor(reader.name).columns
            self._factors(self._columns, reader.name, shape)[reader.number] *= mapping.spread(scales)

    def model(self) -> Model:
        """The model with what was added folded in: the same names, shapes and order."""
        tensors = [
            tensor.scaled(self._rows.get(tensor.name), self._columns.get(tensor.name))
            if tensor.name in self._rows or tensor.name in self._columns
            else tensor
            for tensor in self._model.tensors
        ]
        return replace(self._model, tensors=tensors)

    @staticmethod
    def _factors(kept: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
        return kept.setdefault(name, np.ones(shape, np.float32))

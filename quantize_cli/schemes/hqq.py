"""HQQ: codes of 1, 2, 3, 4 or 8 bits with float zero points, in groups along either axis of the reshaped matrix.

A matrix of n weights is reshaped to (n / group_size, group_size) where `axis` is 1, to (group_size, n / group_size)
where it is 0. Along the axis all share a scale and a zero point:

    X.W_q          codes. The rows of the reshaped matrix are cut into as many parts as a byte or word holds codes, and
                   one code of each part stands in each of them, that of the first part in the highest bits
    X.scale, X.zero  (n / group_size, 1) or (1, n / group_size) of floats
    X.shape (2,), X.group_size, X.axis, X.packing ("4bit_u8" as bytes), and flags

    weight = (code - zero) * scale

Computed in float32, where the library computes in the model's dtype.

Source: hqq, core/quantize.py and core/bitpack.py.
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import ELEMENT, StoredTensor
from quantize_cli.model.sources import Source
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows

_FLOATS = ("F16", "BF16", "F32")
_NUMBERS = ("I32", "I64", "U8")
_MOST_TEXT_NBYTES = 64


class _Packing(NamedTuple):
    dtype: str
    bits: int
    parts: int
    """Codes of one byte or word."""


_PACKINGS = {
    "8bit_u8": _Packing("U8", 8, 1),
    "4bit_u8": _Packing("U8", 4, 2),
    "3bit_32": _Packing("I32", 3, 10),
    "2bit_u8": _Packing("U8", 2, 4),
    "1bit_u8": _Packing("U8", 1, 8),
}


@dataclass(frozen=True)
class PartedCodes:
    """Codes of the flattened matrix, cut into parts that lie above each other in bytes or words."""

    stored: StoredTensor
    bits: int
    parts: int
    columns: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Of rows [start, stop), (stop - start, columns) u8."""
        length = self.stored.nbytes // self.stored.element.itemsize
        at, end, mask = start * self.columns, stop * self.columns, (1 << self.bits) - 1
        codes = []
        while at < end:
            part, first = divmod(at, length)
            last = min(length, first + end - at)
            shift = self.bits * (self.parts - 1 - part)
            codes.append((self.stored.elements(first, last) >> shift & mask).astype(np.uint8))
            at += last - first
        return np.concatenate(codes).reshape(-1, self.columns)


@dataclass(frozen=True)
class Flattened:
    """Numbers of which each row has as many, stored one row after the other."""

    stored: StoredTensor
    each: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, each) of the stored dtype."""
        return self.stored.elements(start * self.each, stop * self.each).reshape(-1, self.each)


@dataclass(frozen=True)
class StraddlingRows:
    """Rows of a matrix whose groups begin within rows, or lie across them."""

    codes: PartedCodes
    scales: StoredTensor
    zeros: StoredTensor
    group_size: int
    axis: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        weights = self.codes.read(start, stop).astype(np.float32).reshape(-1)
        first = start * self.codes.columns
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            weights -= self._own(self.zeros, first, len(weights))
            weights *= self._own(self.scales, first, len(weights))
        return weights.reshape(-1, self.codes.columns)

    def _own(self, numbers: StoredTensor, first: int, count: int) -> np.ndarray:
        """The number of each weight of `count` from `first` on, (count,) f32."""
        groups = numbers.nbytes // numbers.element.itemsize
        flat = np.arange(first, first + count)
        if self.axis == 0:
            begin, end = (0, groups) if count >= groups else (first % groups, first % groups + count)
            values = numbers.elements(begin, min(end, groups))
            if end > groups:
                values = np.concatenate((values, numbers.elements(0, end - groups)))
            return values.astype(np.float32)[(flat - begin) % groups if count >= groups else flat - first]
        begin, end = first // self.group_size, (first + count - 1) // self.group_size + 1
        return numbers.elements(begin, end).astype(np.float32)[flat // self.group_size - begin]


def decoder(_settings: Settings) -> Decoder:
    return _decode


def _decode(group: Group) -> Tensor | None:
    if ".W_q" not in group:
        return None
    if ".zero_q" in group or ".scale_q" in group or ".zero_scale" in group:
        stored = next(group.parts[e] for e in (".zero_q", ".scale_q", ".zero_scale") if e in group)
        raise InputError(f"{origin(stored)}: scales and zero points that are quantized again are not supported")
    shape, axis, size = _shape(group), _number(group, ".axis"), _number(group, ".group_size")
    packing, weights = _packing(group), prod(shape)
    if axis not in (0, 1):
        raise InputError(f"{origin(group.parts['.axis'])} is {axis}, neither 0 nor 1", DAMAGED_HINT)
    if size < 1 or weights % size:
        raise InputError(f"{origin(group.parts['.group_size'])} is {size}, for {weights} weights", DAMAGED_HINT)
    groups = weights // size
    codes = _codes(group, packing, groups if axis else size, size if axis else groups, shape[1])
    scales, zeros = (group.part(ending, _FLOATS) for ending in (".scale", ".zero"))
    for stored in (scales, zeros):
        if prod(stored.shape) != groups:
            raise InputError(f"{origin(stored)} has shape {list(stored.shape)}, for {groups} groups", DAMAGED_HINT)
    source: Source = StraddlingRows(codes, scales, zeros, size, axis)
    if axis and shape[1] % size == 0:
        each = shape[1] // size
        source = AffineRows(shape, packing.bits, codes, Flattened(scales, each), Flattened(zeros, each), size)
    return decoded(group, source, shape, f"hqq, {packing.bits} bits")


def _codes(group: Group, packing: _Packing, rows: int, width: int, columns: int) -> PartedCodes:
    """The codes of a matrix that is reshaped to (rows, width)."""
    stored = group.part(".W_q", ("U8", "I32", *_FLOATS))
    element = ELEMENT[packing.dtype]
    needed = -(-rows // packing.parts) * width
    if stored.nbytes != needed * element.itemsize or (packing.parts != 10 and rows % packing.parts):
        told = f"{rows} rows of {width} in {packing.parts} parts need {needed * element.itemsize}"
        raise InputError(f"{origin(stored)} has {stored.nbytes} bytes, {told}", DAMAGED_HINT)
    # Words may be stored as if they were floats, so that tools which move only floats move them along.
    words = StoredTensor(stored.name, (needed,), packing.dtype, stored.path, stored.offset, stored.nbytes, element)
    return PartedCodes(words, packing.bits, packing.parts, columns)


def _packing(group: Group) -> _Packing:
    stored = group.part(".packing", ("U8",))
    text = stored.elements(0, min(_MOST_TEXT_NBYTES, stored.nbytes)).tobytes().decode("latin-1")
    if text not in _PACKINGS:
        raise InputError(f"{origin(stored)} is {quoted(text)}, which is not supported")
    return _PACKINGS[text]


def _shape(group: Group) -> tuple[int, int]:
    stored = group.part(".shape", _NUMBERS, (2,))
    rows, columns = (int(n) for n in stored.elements(0, 2))
    if min(rows, columns) < 1 or max(rows, columns) >= 1 << 31:
        raise InputError(f"{origin(stored)} is {[rows, columns]}, not the shape of a matrix", DAMAGED_HINT)
    return rows, columns


def _number(group: Group, ending: str) -> int:
    stored = group.part(ending, _NUMBERS)
    if prod(stored.shape) != 1:
        raise InputError(f"{origin(stored)} has shape {list(stored.shape)}, not one number", DAMAGED_HINT)
    return int(stored.elements(0, 1)[0])


SCHEME = Scheme(
    methods=("hqq",),
    endings=(
        ".W_q", ".scale", ".zero", ".shape", ".nbits", ".group_size", ".axis", ".packing", ".compute_dtype",
        ".unpack_view_dtype", ".view_as_float", ".quant_scale", ".quant_zero", ".offload_meta", ".encoded_state_dict",
        ".stores_quant_config", ".channel_wise", ".optimize", ".round_zero", ".scale_q", ".zero_q", ".zero_scale",
    ),
    marks=(".W_q",),
    decoder=decoder,
    sources=(AffineRows, Flattened, PartedCodes, StraddlingRows),
)  # fmt: skip

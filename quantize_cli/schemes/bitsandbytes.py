"""bitsandbytes: nf4, fp4, with absmax quantized again or not, and LLM.int8().

4 bits, over the flattened matrix, whose blocks may begin within a row:

    X.weight            (out * in / 2, 1) u8   two codes a byte, the first high; or the same bytes as another dtype
    X.weight.quant_map  (16,) f32              what each code stands for
    X.weight.absmax     (blocks,) f32, or u8 where it is quantized again
    X.weight.nested_absmax (blocks / 256,) f32, X.weight.nested_quant_map (256,) f32
    X.weight.quant_state.bitsandbytes__nf4, or __fp4: JSON with blocksize, shape, and the nested ones

    absmax = nested_quant_map[absmax code] * nested_absmax + nested_offset
    weight = quant_map[code] * absmax

8 bits:

    X.weight  (out, in) i8
    X.SCB     (out,) f32     the largest magnitude of a row

    weight = code * SCB * (1 / 127)

All in float32 and in this order, as the library computes them before it rounds to the model's dtype.

Source: bitsandbytes, functional.py and backends/default/ops.py.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.json_object import parse_object
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing import blocks

_STATE = ".weight.quant_state.bitsandbytes__"
_TYPES = ("nf4", "fp4")
_BYTES = ("U8", "I8", "F16", "BF16", "F32")
"""`bnb_4bit_quant_storage`: the dtypes that bytes of codes may seem to have."""
_FLOATS = ("F32",)
_MOST_STATE_NBYTES = 1 << 16
_STATE_MEMORY_NBYTES = 1 << 24
_PER_127 = np.float32(7.874015718698502e-3)


@dataclass(frozen=True)
class Absmax:
    """The largest magnitudes of blocks, stored as floats."""

    stored: StoredTensor

    def read(self, start: int, stop: int) -> np.ndarray:
        """Of blocks [start, stop), f32."""
        return self.stored.elements(start, stop)


@dataclass(frozen=True)
class NestedAbsmax:
    """The same as codes, whose blocks have magnitudes of their own."""

    stored: StoredTensor
    magnitudes: StoredTensor
    levels: StoredTensor
    block: int
    offset: float

    def read(self, start: int, stop: int) -> np.ndarray:
        """Of blocks [start, stop), f32."""
        first = start // self.block
        magnitudes = self.magnitudes.elements(first, -(-stop // self.block))
        own = magnitudes[np.arange(start, stop) // self.block - first]
        levels = self.levels.elements(0, 256)
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            values: np.ndarray = levels[self.stored.elements(start, stop)] * own + np.float32(self.offset)
        return values


@dataclass(frozen=True)
class FourBitRows:
    """Rows of a matrix of which 4-bit codes and magnitudes lie in the order of the flattened matrix."""

    columns: int
    codes: StoredTensor
    levels: StoredTensor
    absmax: Absmax | NestedAbsmax
    block: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        begin, end = start * self.columns, stop * self.columns
        pairs = self.codes.elements(begin // 2, -(-end // 2))
        codes = np.stack((pairs >> 4, pairs & 15), 1).reshape(-1)[begin % 2 :][: end - begin]
        first, last = begin // self.block, -(-end // self.block)
        own = self.absmax.read(first, last)[np.arange(begin, end) // self.block - first]
        with np.errstate(over="ignore", invalid="ignore"):
            weights: np.ndarray = self.levels.elements(0, 16)[codes] * own
        return weights.reshape(stop - start, self.columns)


@dataclass(frozen=True)
class EightBitRows:
    """Rows of a matrix of 8-bit codes, each with a scale."""

    codes: StoredTensor
    magnitudes: StoredTensor

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        values = self.codes.rows(start, stop).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values *= self.magnitudes.elements(start, stop)[:, None]
            values *= _PER_127
        return values

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        return () if self.codes.shape[1] % 32 else (GgmlType.Q8_0,)

    def repacking(self, type_: GgmlType) -> str:
        if type_ not in self.block_types:
            return ""
        return blocks.verdict({"scales": blocks.rounding(self._scales(0, self.codes.row_count))})

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        return blocks.pack(type_, self.codes.rows(start, stop), scale=self._scales(start, stop)[:, None])

    def _scales(self, start: int, stop: int) -> np.ndarray:
        scales: np.ndarray = self.magnitudes.elements(start, stop) * _PER_127
        return scales


def decoder(settings: Settings) -> Decoder:
    return _decode


def _decode(group: Group) -> Tensor | None:
    for kind in _TYPES:
        if _STATE + kind in group:
            return _four_bits(group, kind)
    if ".weight.absmax" in group:
        raise InputError(
            f"{origin(group.parts['.weight.absmax'])} has no {quoted(_STATE + _TYPES[0])} beside it", DAMAGED_HINT
        )
    return _eight_bits(group) if ".SCB" in group else None


def _eight_bits(group: Group) -> Tensor:
    codes = group.matrix(".weight", ("I8",))
    if ".weight_format" in group:
        layout = int(group.part(".weight_format", ("U8",)).elements(0, 1)[0])
        if layout != 0:
            raise InputError(f"{origin(group.parts['.weight_format'])} is {layout}, only 0, by rows, is supported")
    magnitudes = group.part(".SCB", _FLOATS, codes.shape[:1])
    return decoded(group, EightBitRows(codes, magnitudes), codes.shape, "bitsandbytes, int8")


def _four_bits(group: Group, kind: str) -> Tensor:
    state = _State(group.part(_STATE + kind, ("U8",)))
    shape = state.shape("shape")
    weights = prod(shape)
    block = min(state.count("blocksize"), weights)
    stored = group.part(".weight", _BYTES)
    if stored.nbytes != -(-weights // 2):
        told = f"4 bits for shape {list(shape)} need {-(-weights // 2)}"
        raise InputError(f"{origin(stored)} has {stored.nbytes} bytes, {told}", DAMAGED_HINT)
    codes = StoredTensor(
        stored.name, (stored.nbytes,), "U8", stored.path, stored.offset, stored.nbytes, np.dtype(np.uint8)
    )
    count, nested = -(-weights // block), ".weight.nested_absmax" in group
    absmax = group.part(".weight.absmax", ("U8",) if nested else _FLOATS, (count,))
    magnitudes = _nested(group, state, absmax) if nested else Absmax(absmax)
    levels = group.part(".weight.quant_map", _FLOATS, (16,))
    source = FourBitRows(shape[-1], codes, levels, magnitudes, block)
    name = f"bitsandbytes, {kind}" + (" with nested scales" if nested else "")
    return decoded(group, source, shape, name)


def _nested(group: Group, state: "_State", absmax: StoredTensor) -> NestedAbsmax:
    block = min(state.count("nested_blocksize"), absmax.shape[0])
    magnitudes = group.part(".weight.nested_absmax", _FLOATS, (-(-absmax.shape[0] // block),))
    levels = group.part(".weight.nested_quant_map", _FLOATS, (256,))
    return NestedAbsmax(absmax, magnitudes, levels, block, state.number("nested_offset"))


class _State:
    """What a quant state says, as JSON in a tensor of bytes."""

    def __init__(self, stored: StoredTensor) -> None:
        self._where = origin(stored)
        if stored.nbytes > _MOST_STATE_NBYTES:
            raise InputError(f"{self._where} has {stored.nbytes} bytes, at most {_MOST_STATE_NBYTES} are read")
        text = stored.elements(0, stored.nbytes).tobytes()
        try:
            self._values: dict[str, Any] = parse_object(self._where, text, False, _STATE_MEMORY_NBYTES)
        except FormatError as error:
            raise InputError(str(error), DAMAGED_HINT) from error

    def count(self, key: str) -> int:
        value = self._values.get(key)
        if type(value) is not int or value < 1:
            raise self._refused(key, "a positive whole number")
        return value

    def number(self, key: str) -> float:
        value = self._values.get(key)
        if type(value) is not float and not (type(value) is int and abs(value) < 1 << 64):
            raise self._refused(key, "a number")
        return float(value)

    def shape(self, key: str) -> tuple[int, ...]:
        value = self._values.get(key)
        if not (isinstance(value, list) and len(value) > 1 and all(type(n) is int and 0 < n < 1 << 32 for n in value)):
            raise self._refused(key, "the shape of a matrix")
        return tuple(value)

    def _refused(self, key: str, expected: str) -> InputError:
        return InputError(f"{self._where}: {quoted(key)} is {quoted(str(self._values.get(key)))}, not {expected}")


SCHEME = Scheme(
    methods=("bitsandbytes",),
    endings=(
        ".weight", ".weight.absmax", ".weight.quant_map", ".weight.nested_absmax", ".weight.nested_quant_map",
        ".SCB", ".weight_format", *(_STATE + kind for kind in _TYPES),
    ),
    marks=(".SCB", ".weight.absmax", *(_STATE + kind for kind in _TYPES)),
    decoder=decoder,
    sources=(Absmax, NestedAbsmax, FourBitRows, EightBitRows),
)  # fmt: skip

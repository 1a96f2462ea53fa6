"""torchao, as safetensors files keep its tensors since 0.14: each part of a tensor under a name of its own.

    Int8Tensor, IntxUnpackedToInt8Tensor, Float8Tensor
        X._weight_qdata (out, in) i8, f8_e4m3 or f8_e5m2; X._weight_scale and X._weight_zero_point (i8), one for each
        block of rows and columns
        weight = (code - zero) * scale
    Int4Tensor
        X._weight_qdata (out, in / 2) i8, two's complement, the even column low; X._weight_scale and
        X._weight_zero_point (in / group, out) of floats
        weight = code * scale + zero
    NVFP4Tensor
        X._weight_qdata (out, in / 2) u8 in E2M1, the even column low; X._weight_scale (out, in / 16) f8_e4m3, whose
        order is another where it is swizzled; X._weight_per_tensor_scale f32
        weight = code * (scale * per_tensor_scale)
    MXTensor
        the same in blocks of 32 under powers of two, or numbers of eight bits
    all: X._weight_act_pre_scale (in,), by which activations are multiplied, and so are columns here

The metadata of the file says which kind each tensor is. Kinds that are packed for one kernel are refused.

Source: torchao 0.18, prototype/safetensors/ and quantization/quantize_/workflows/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.json_object import parse_object
from quantize_cli.formats.memory_limit import BASE_MEMORY_NBYTES, MEMORY_PER_BYTE
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.safetensors import read_metadata
from quantize_cli.model.sources import Source
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, Constant
from quantize_cli.schemes.packing.readers import Columns, Rows
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.grid import EXPONENTS
from quantize_cli.schemes.scaled.readers import (
    BlockScales,
    FloatsOf4Bits,
    IntegersInBytes,
    IntegersOf4Bits,
    NibblePairs,
    ScaledScales,
)
from quantize_cli.schemes.scaled.rows import ScaledColumns, ScaledFloats

_DATA, _SCALE, _ZERO = "._weight_qdata", "._weight_scale", "._weight_zero_point"
_OUTER, _FACTORS = "._weight_per_tensor_scale", "._weight_act_pre_scale"
_INTEGERS = tuple(f"int{bits}" for bits in range(1, 9))
_PLAIN = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor")
_KINDS = (*_PLAIN, "Int4Tensor", "NVFP4Tensor", "MXTensor")


@dataclass(frozen=True)
class TransposedLines:
    """code * scale + zero, where scales and zeros stand as (groups, rows)."""

    shape: tuple[int, int]
    codes: IntegersOf4Bits
    scales: Columns
    zeros: Columns
    group_size: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop), (stop - start, columns) f32."""
        weights = self.codes.read(start, stop).astype(np.float32).reshape(stop - start, -1, self.group_size)
        with np.errstate(over="ignore", invalid="ignore"):  # who uses the rows looks at what is not finite
            weights *= self.scales.read(start, stop).astype(np.float32)[:, :, None]
            weights += self.zeros.read(start, stop).astype(np.float32)[:, :, None]
        return weights.reshape(stop - start, -1)


def decoder(settings: Settings) -> Decoder:
    paths = dict.fromkeys(tensor.path for tensor in settings.checkpoint.tensors if tensor.name.endswith(_DATA))
    return partial(_decode, {path: read_metadata(path) for path in paths})


def _decode(metadata: Mapping[Path, Mapping[str, str]], group: Group) -> Tensor | None:
    if _DATA not in group:
        return None
    where, kind, data = _description(metadata, group)
    source, shape = _matrix(group, where, kind, data)
    if _FACTORS in group:
        source = matrix.with_factors(source, group.parts[_FACTORS], shape[-1])
    return decoded(group, source, shape, f"torchao, {kind}")


def _matrix(group: Group, where: str, kind: str, data: Mapping[str, Any]) -> tuple[Source, tuple[int, ...]]:
    """The matrix without factors, and its shape."""
    if kind == "Int4Tensor":
        lines = _int4(group)
        return lines, lines.shape
    return _plain(group, where, data) if kind in _PLAIN else _of_floats(group, where, data)


def _description(metadata: Mapping[Path, Mapping[str, str]], group: Group) -> tuple[str, str, Mapping[str, Any]]:
    """Where the file describes the tensor, its kind, and what else is said of it. InputError for a kind not read."""
    stored, name = group.parts[_DATA], f"{group.module}.weight"
    where = f"{stored.path}: metadata of {quoted(name)}"
    text = metadata[stored.path].get(name)
    if text is None:
        raise InputError(f"{where} are missing, and tensor {quoted(stored.name)} can be of several kinds")
    described = parse_object(where, text.encode(), False, BASE_MEMORY_NBYTES + MEMORY_PER_BYTE * len(text))
    kind, data = described.get("_type"), described.get("_data")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{where}: type {quoted(str(kind))} is not supported", hint=f"supported: {', '.join(_KINDS)}")
    if not isinstance(data, dict):
        raise InputError(f"{where}: '_data' is {quoted(str(data))}, not an object")
    return where, kind, data


def _plain(group: Group, where: str, data: Mapping[str, Any]) -> tuple[Source, tuple[int, ...]]:
    """Numbers in a byte each, and their shape."""
    stored = matrix.stack(group, _DATA, ("I8", *matrix.FLOATS_OF_8_BITS))
    sides = data.get("block_size")
    if not isinstance(sides, list) or len(sides) != len(stored.shape) or not _are_positive(sides):
        raise InputError(f"{where}: 'block_size' is {quoted(str(sides))}, not {len(stored.shape)} sides of blocks")
    scales, block = group.part(_SCALE, matrix.WIDE), (sides[-2], sides[-1])
    if stored.dtype == "I8":
        return matrix.of_integers(stored, scales, (block,), group.parts.get(_ZERO), _bits(where, data)), stored.shape
    return matrix.of_8_bits(stored, scales, (block,)), stored.shape


def _bits(where: str, data: Mapping[str, Any]) -> int:
    """Of integers: as the dtype that they stand for says, or 8."""
    dtype = data.get("target_dtype")
    name = dtype.get("_data") if isinstance(dtype, dict) else "int8" if dtype is None else dtype
    if name not in _INTEGERS:
        raise InputError(f"{where}: target_dtype {quoted(str(name))} is not supported")
    return _INTEGERS.index(name) + 1


def _are_positive(sides: list[Any]) -> bool:
    return all(type(side) is int and side > 0 for side in sides)


def _of_floats(group: Group, where: str, data: Mapping[str, Any]) -> tuple[Source, tuple[int, ...]]:
    """NVFP4 and MX formats."""
    if data.get("is_swizzled_scales"):
        raise InputError(f"{where}: swizzled scales are not supported")
    stored = matrix.stack(group, _DATA, (*matrix.BYTES, *matrix.FLOATS_OF_8_BITS))
    scales = group.part(_SCALE, ("F8_E4M3", *EXPONENTS))
    if stored.dtype in matrix.FLOATS_OF_8_BITS:
        return matrix.of_8_bits(stored, scales, ((1, 32),)), stored.shape
    floats = matrix.floats_of_4_bits(stored, scales)
    if _OUTER in group:
        floats = matrix.with_outer(floats, group.part(_OUTER, ("F32",)), divided=False)
    return floats, floats.shape


def _int4(group: Group) -> TransposedLines:
    stored, scales = group.matrix(_DATA, matrix.BYTES), group.matrix(_SCALE, matrix.WIDE)
    rows, columns, groups = stored.shape[0], 2 * stored.shape[1], scales.shape[0]
    if scales.shape[1] != rows or columns % groups:
        raise InputError(
            f"{origin(scales)} has shape {list(scales.shape)}, which does not fit weights {[rows, columns]}",
            DAMAGED_HINT,
        )
    zeros = group.part(_ZERO, matrix.WIDE, scales.shape)
    codes = IntegersOf4Bits(NibblePairs(stored))
    return TransposedLines((rows, columns), codes, Columns(scales), Columns(zeros), columns // groups)


SCHEME = Scheme(
    methods=("torchao",),
    endings=(_DATA, _SCALE, _ZERO, _OUTER, _FACTORS),
    marks=(_DATA,),
    decoder=decoder,
    sources=(
        AffineRows, BlockScales, Columns, Constant, FloatsOf4Bits, IntegersInBytes, IntegersOf4Bits, NibblePairs, Rows,
        ScaledColumns, ScaledFloats, ScaledScales, TransposedLines,
    ),
    dropped=("._weight_act_quant_scale", "._weight_act_quant_zero_point", "._weight_act_per_tensor_scale"),
)  # fmt: skip

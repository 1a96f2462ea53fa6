"""compressed-tensors, as llm-compressor writes it: each group of matrices in a format of its own.

    pack-quantized   X.weight_packed (out, ceil(in * bits / 32)) i32   1 to 8 bits, see packing/bit_stream.py
                     X.weight_shape (2,) i64                           out, in
                     X.weight_zero_point (ceil(out * bits / 32), groups) i32, packed along `out`; i8 in old files
                     X.weight_g_idx (in,) i32                          the group of each column, in old files
    int-, float-, naive-, mxfp8-quantized
                     X.weight (out, in) i8 or floats of 8 bits; X.weight_zero_point i8
    nvfp4-, mxfp4-pack-quantized
                     X.weight_packed (out, in / 2) u8                  E2M1, the even column low
                     X.weight_global_scale (1,) f32                    NVFP4's
    all              X.weight_scale                                    of the tensor, rows, groups or blocks

    weight = (code - zero) * scale, of NVFP4 code * (scale / global scale); zero is 2**(bits - 1) where none is stored

The library finds the format of a matrix by its module's name or class (`targets`, `ignore`). Here its tensors tell:
their names, dtypes and shapes are different in each format, and they are there whether or not a pattern fits. The
configuration must allow what they tell.

Source: compressed-tensors 0.20, compressors/ and quantization/lifecycle/forward_helpers.py.
"""

from dataclasses import dataclass
from functools import partial
from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.rows import Source
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, Constant, Reader, group_size
from quantize_cli.schemes.packing.readers import PackedAlong, Rows
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.grid import Block, block_of, block_scales
from quantize_cli.schemes.scaled.readers import (
    BlockScales,
    FloatsOf4Bits,
    NibblePairs,
    PackedUp,
    ScaledScales,
    Shifted,
)
from quantize_cli.schemes.scaled.rows import ScaledRows

_FORMATS = (
    "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mxfp8-quantized",
    "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision",
)  # fmt: skip
_SCALE_FORMATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class _Stated:
    """What the configuration says of the formats of all matrices together."""

    where: str
    bits: tuple[int, ...]
    """Of codes, where any are packed; all of 1 to 8 where the configuration says nothing."""
    blocks: tuple[Block, ...]
    group_sizes: tuple[int, ...]


def decoder(settings: Settings) -> Decoder:
    _refuse_format(settings)
    sparse = settings.inner("sparsity_config")
    if sparse.text("format", "dense") != "dense":
        raise sparse.refuse("format")
    if settings.inner("transform_config").values.get("config_groups"):
        raise InputError(f"{settings.where}: 'transform_config' turns weights at run time, which is not supported")
    bits: set[int] = set()
    blocks: set[Block] = set()
    sizes: set[int] = set()
    groups = settings.inner("config_groups")
    for name in groups.values:
        group = groups.inner(name)
        _refuse_format(group)
        weights = group.inner("weights")
        if not weights.values:
            continue
        bits.add(_number(weights, "num_bits", 8))
        if weights.values.get("group_size") is not None and weights.values["group_size"] != -1:
            sizes.add(_number(weights, "group_size"))
        blocks |= {(1, size) for size in sizes} | _block(weights)
    stated = tuple(sorted(bits)) or tuple(range(1, 9))
    return partial(_decode, _Stated(settings.where, stated, tuple(sorted(blocks)), tuple(sorted(sizes))))


def _refuse_format(settings: Settings) -> None:
    """InputError for a format that is not read."""
    if settings.text("format", "dense") not in _FORMATS:
        raise settings.refuse("format")


def _number(settings: Settings, key: str, most: int | None = None) -> int:
    """A positive number, and at most `most`."""
    value = settings.integer(key)
    if value < 1 or (most is not None and value > most):
        raise settings.refuse(key)
    return value


def _block(weights: Settings) -> set[Block]:
    sides = weights.values.get("block_structure")
    if sides is None:
        return set()
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise weights.refuse("block_structure")
    return {(sides[0], sides[1])}


def _decode(stated: _Stated, group: Group) -> Tensor | None:
    if ".weight_packed" not in group and ".weight_scale" not in group:
        return None
    if ".weight_packed" not in group:
        return _of_8_bits(stated, group)
    packed = matrix.stack(group, ".weight_packed", ("I32", "U8"))
    if packed.dtype == "I32":
        return _packed(stated, group, packed)
    scales = group.part(".weight_scale", ("U8", "F8_E8M0", "F8_E4M3"))
    rows = matrix.floats_of_4_bits(packed, scales)
    if scales.dtype != "F8_E4M3":
        return decoded(group, rows, rows.shape, "compressed-tensors, mxfp4")
    rows = matrix.with_outer(rows, group.part(".weight_global_scale", ("F32",)), divided=True)
    return decoded(group, rows, rows.shape, "compressed-tensors, nvfp4")


def _of_8_bits(stated: _Stated, group: Group) -> Tensor:
    stored = matrix.stack(group, ".weight", ("I8", *matrix.FLOATS_OF_8_BITS, *matrix.WIDE))
    matrix.refuse_float(group, stored)
    scales = group.part(".weight_scale", (*_SCALE_FORMATS, "U8", "F8_E8M0"))
    rows = matrix.of_8_bits(stored, scales, stated.blocks, group.parts.get(".weight_zero_point"))
    kind = "int8" if stored.dtype == "I8" else "fp8" if scales.dtype in _SCALE_FORMATS else "mxfp8"
    return decoded(group, rows, stored.shape, f"compressed-tensors, {kind}")


def _packed(stated: _Stated, group: Group, packed: StoredTensor) -> Tensor:
    shape = _shape(group, packed)
    count, columns = prod(shape[:-1]), shape[-1]
    bits = _bits(stated, packed, columns)
    scales = group.part(".weight_scale", _SCALE_FORMATS)
    block = block_of(scales, shape, stated.blocks)
    laid = block_scales(scales, shape, block)
    groups = laid.stored.shape[2]
    size = group_size(block[1], columns, scales, groups)
    order = group.part(".weight_g_idx", ("I32",), (columns,)) if ".weight_g_idx" in group else None
    if order is not None and -1 in order.elements(0, columns):  # a place for what was not computed
        order = None
    zeros = _zeros(group, shape, bits, laid)
    source: Source = AffineRows((count, columns), bits, PackedAlong(packed, bits, columns), laid, zeros, size, order)
    return decoded(group, source, shape, f"compressed-tensors, {bits} bits")


def _shape(group: Group, packed: StoredTensor) -> tuple[int, ...]:
    """Of the weights; InputError unless it is that of the words but for the columns."""
    stored = group.part(".weight_shape", ("I64", "I32"), (len(packed.shape),))
    shape = tuple(int(side) for side in stored.elements(0, len(packed.shape)))
    if shape[:-1] != packed.shape[:-1] or not 0 < shape[-1] <= 32 * packed.shape[-1]:
        raise InputError(
            f"{origin(stored)} says {list(shape)}, but {quoted(packed.name)} has shape {list(packed.shape)}",
            DAMAGED_HINT,
        )
    return shape


def _bits(stated: _Stated, packed: StoredTensor, columns: int) -> int:
    """Of a code; InputError unless the words of a row are as many as one width that is stated needs."""
    words = packed.shape[-1]
    fitting = [bits for bits in stated.bits if -(-columns * bits // 32) == words]
    if len(fitting) != 1:
        told = f"{stated.where} says {' or '.join(map(str, stated.bits))} bits"
        raise InputError(f"{origin(packed)} has {words} words for {columns} columns, {told}", DAMAGED_HINT)
    return fitting[0]


def _zeros(group: Group, shape: tuple[int, ...], bits: int, scales: BlockScales) -> Reader:
    """The zero points of codes that count from 0."""
    middle = 1 << (bits - 1)
    if ".weight_zero_point" not in group:
        return Constant(middle)
    grid_rows, grid_columns = scales.stored.shape[1:]
    if len(shape) > 2 or grid_rows != shape[0]:
        stored = group.parts[".weight_zero_point"]
        raise InputError(f"{origin(stored)}: zero points of {list(scales.stored.shape)} groups are not supported")
    stored = group.part(".weight_zero_point", ("I32", "I8"))
    if stored.dtype == "I8":
        return Shifted(group.part(".weight_zero_point", ("I8",), (grid_rows, grid_columns)), middle)
    return PackedUp(group.part(".weight_zero_point", ("I32",), (-(-shape[0] * bits // 32), grid_columns)), bits)


SCHEME = Scheme(
    methods=("compressed-tensors",),
    endings=(
        ".weight", ".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx",
        ".weight_global_scale",
    ),
    marks=(".weight_packed", ".weight_scale"),
    decoder=decoder,
    sources=(
        AffineRows, BlockScales, Constant, FloatsOf4Bits, NibblePairs, PackedAlong, PackedUp, Rows, ScaledRows,
        ScaledScales, Shifted,
    ),
    dropped=(
        ".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point",
        ".q_scale", ".k_scale", ".v_scale", ".q_zero_point", ".k_zero_point", ".v_zero_point",
        ".q_global_scale", ".k_global_scale", ".v_global_scale",
    ),
)  # fmt: skip

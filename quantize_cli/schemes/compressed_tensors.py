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

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, Constant, Reader
from quantize_cli.schemes.packing.readers import PackedAlong, Rows
from quantize_cli.schemes.scaled import matrix
from quantize_cli.schemes.scaled.grid import CHANNEL, EXPONENTS, TENSOR, USUAL, Block, block_of, block_scales, fitting
from quantize_cli.schemes.scaled.readers import (
    BlockScales,
    FloatsOf4Bits,
    NibblePairs,
    PackedUp,
    ScaledScales,
    Shifted,
)
from quantize_cli.schemes.scaled.rows import ScaledFloats

_FORMATS = (
    "dense", "pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mxfp8-quantized",
    "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision",
)  # fmt: skip
_BITS = range(1, 9)


@dataclass(frozen=True)
class _Weights:
    """What a group of the configuration says of its weights."""

    bits: int
    are_floats: bool
    block: Block

    def __str__(self) -> str:
        kind = "floats" if self.are_floats else "integers"
        rows, columns = (side or "all" for side in self.block)
        return f"{kind} of {self.bits} bits in blocks of {rows} x {columns}"


@dataclass(frozen=True)
class _Stated:
    """What the configuration says."""

    where: str
    weights: tuple[_Weights, ...]
    """Of all groups; of every kind there is where it has none."""

    def blocks(self, are_floats: bool, bits: Iterable[int]) -> tuple[Block, ...]:
        """The blocks of weights of that kind and so many bits."""
        allowed = set(bits)
        blocks = [w.block for w in self.weights if w.are_floats == are_floats and w.bits in allowed]
        return tuple(dict.fromkeys(blocks))

    def refuse(self, stored: StoredTensor) -> InputError:
        """The error for numbers that no group has."""
        what = f"{origin(stored)} has dtype {stored.dtype} and shape {list(stored.shape)}"
        has = "; ".join(map(str, self.weights[:3])) + ("; ..." if len(self.weights) > 3 else "")
        return InputError(f"{what}, but {self.where} has {has}", DAMAGED_HINT)


def decoder(settings: Settings) -> Decoder:
    _refuse_format(settings)
    sparse = settings.inner("sparsity_config")
    if sparse.text("format", "dense") != "dense":
        raise sparse.refuse("format")
    if settings.inner("transform_config").values.get("config_groups"):
        raise InputError(f"{settings.where}: 'transform_config' turns weights at run time, which is not supported")
    groups = settings.inner("config_groups")
    stated = []
    for name in groups.values:
        group = groups.inner(name)
        _refuse_format(group)
        if (weights := group.inner("weights")).values:
            stated.append(_weights(weights))
    if not stated:
        stated = [_Weights(bits, is_float, block) for bits in _BITS for is_float in (False, True) for block in USUAL]
    return partial(_decode, _Stated(settings.where, tuple(dict.fromkeys(stated))))


def _refuse_format(settings: Settings) -> None:
    """InputError for a format that is not read."""
    if settings.text("format", "dense") not in _FORMATS:
        raise settings.refuse("format")


def _weights(settings: Settings) -> _Weights:
    """One group; InputError for what cannot be read."""
    bits, kind, strategy = settings.integer("num_bits", 8), settings.text("type", "int"), settings.text("strategy", "")
    size = settings.integer("group_size", 0) if settings.values.get("group_size") is not None else None
    if bits not in _BITS:
        raise settings.refuse("num_bits")
    if kind not in ("int", "float"):
        raise settings.refuse("type")
    if size is not None and (size < -1 or size == 0):
        raise settings.refuse("group_size")
    strategy = strategy or ("tensor" if size is None else "channel" if size == -1 else "group")
    if strategy == "block":
        sides = settings.values.get("block_structure")
        if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
            raise settings.refuse("block_structure")
        return _Weights(bits, kind == "float", (sides[0], sides[1]))
    if strategy in ("group", "tensor_group"):
        if size is None or size < 1:
            raise settings.refuse("group_size")
        return _Weights(bits, kind == "float", (1, size))
    if strategy not in ("tensor", "channel"):
        raise settings.refuse("strategy")
    return _Weights(bits, kind == "float", TENSOR if strategy == "tensor" else CHANNEL)


def _decode(stated: _Stated, group: Group) -> Tensor | None:
    if ".weight_packed" not in group and ".weight_scale" not in group:
        return None
    if ".weight_packed" not in group:
        return _of_8_bits(stated, group)
    packed = matrix.stack(group, ".weight_packed", ("I32", "U8"))
    return _packed(stated, group, packed) if packed.dtype == "I32" else _of_4_bits(stated, group, packed)


def _of_4_bits(stated: _Stated, group: Group, packed: StoredTensor) -> Tensor:
    scales = group.part(".weight_scale", ("F8_E4M3", *EXPONENTS))
    is_nvfp4 = scales.dtype == "F8_E4M3"
    if (1, 16 if is_nvfp4 else 32) not in stated.blocks(True, (4,)):
        raise stated.refuse(packed)
    rows = matrix.floats_of_4_bits(packed, scales)
    if is_nvfp4:
        rows = matrix.with_outer(rows, group.part(".weight_global_scale", ("F32",)), divided=True)
    return decoded(group, rows, rows.shape, f"compressed-tensors, {'nvfp4' if is_nvfp4 else 'mxfp4'}")


def _of_8_bits(stated: _Stated, group: Group) -> Tensor:
    stored = matrix.stack(group, ".weight", ("I8", *matrix.FLOATS_OF_8_BITS, *matrix.WIDE))
    matrix.refuse_float(group, stored)
    are_floats = stored.dtype != "I8"
    blocks = stated.blocks(are_floats, (8,) if are_floats else _BITS)
    if not blocks:
        raise stated.refuse(stored)
    if not are_floats:
        zeros = group.parts.get(".weight_zero_point")
        integers = matrix.of_integers(stored, group.part(".weight_scale", matrix.WIDE), blocks, zeros)
        return decoded(group, integers, stored.shape, "compressed-tensors, int8")
    scales = group.part(".weight_scale", (*matrix.WIDE, *EXPONENTS) if (1, 32) in blocks else matrix.WIDE)
    floats = matrix.of_8_bits(stored, scales, blocks)
    kind = "mxfp8" if scales.dtype in EXPONENTS else "fp8"
    return decoded(group, floats, stored.shape, f"compressed-tensors, {kind}")


def _packed(stated: _Stated, group: Group, packed: StoredTensor) -> Tensor:
    shape = _shape(group, packed)
    count, columns = prod(shape[:-1]), shape[-1]
    scales = group.part(".weight_scale", matrix.WIDE)
    bits, block = _bits_and_block(stated, packed, scales, shape)
    laid = block_scales(scales, shape, block)
    order = group.part(".weight_g_idx", ("I32",), (columns,)) if ".weight_g_idx" in group else None
    if order is not None and -1 in order.elements(0, columns):  # a place for what was not computed
        order = None
    codes, zeros = PackedAlong(packed, bits, columns), _zeros(group, shape, bits, laid)
    source = AffineRows((count, columns), bits, codes, laid, zeros, block[1], groups=order)
    return decoded(group, source, shape, f"compressed-tensors, {bits} bits")


def _bits_and_block(
    stated: _Stated, packed: StoredTensor, scales: StoredTensor, shape: tuple[int, ...]
) -> tuple[int, Block]:
    """Of codes, by the words of a row and the shape of the scales; InputError where no group of integers fits."""
    fitting_bits = [bits for bits in _BITS if -(-shape[-1] * bits // 32) == packed.shape[-1]]
    for bits in fitting_bits:
        if block := fitting(scales, shape, stated.blocks(False, (bits,))):
            return bits, block
    if blocks := stated.blocks(False, fitting_bits):
        block_of(scales, shape, blocks)
    raise stated.refuse(packed)


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
        AffineRows, BlockScales, Constant, FloatsOf4Bits, NibblePairs, PackedAlong, PackedUp, Rows, ScaledFloats,
        ScaledScales, Shifted,
    ),
    dropped=(
        ".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point",
        ".q_scale", ".k_scale", ".v_scale", ".q_zero_point", ".k_zero_point", ".v_zero_point",
        ".q_global_scale", ".k_global_scale", ".v_global_scale",
    ),
)  # fmt: skip

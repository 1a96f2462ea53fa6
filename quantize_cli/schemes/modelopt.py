"""ModelOpt, as TensorRT-LLM, vLLM and SGLang read it: each matrix by an algorithm of its own.

    FP8, FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO
        X.weight (out, in) f8_e4m3; X.weight_scale of the matrix, of rows (out,), or (out / 128, 1, in / 128, 1)
    NVFP4, W4A16_NVFP4, NVFP4_AWQ
        X.weight (out, in / 2) u8 in E2M1, the even column low; X.weight_scale (out, in / 16) f8_e4m3; X.weight_scale_2
    MXFP4 (W4A8_MXFP4_FP8)
        the same with X.weight_scale (out, in / 32) u8, byte e for 2**(e - 127)
    W8A16, W8A8_SQ_PER_CHANNEL
        X.weight (out, in) i8; X.weight_scale (out,)
    W4A16_AWQ
        X.weight (out / 2, in) u8, two's complement, the even row low; X.weight_scale (out, in / group)

    weight = code * scale, of NVFP4 code * (scale * scale_2); times X.pre_quant_scale (in,) where there is one: its
    engines multiply activations by that, and nothing else is left to do so in another file

Tensors tell which it is by dtypes and shapes; the configuration must allow it.

Source: ModelOpt 0.47, torch/export/quant_utils.py and torch/quantization/qtensor/.
"""

from functools import partial

from quantize_cli.errors import InputError
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.sources import Source
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, Decoder, Group, Scheme, decoded, origin
from quantize_cli.schemes.interface.settings import Settings
from quantize_cli.schemes.packing.affine import AffineRows, Constant
from quantize_cli.schemes.packing.readers import Rows
from quantize_cli.schemes.scaled import grid, matrix
from quantize_cli.schemes.scaled.grid import Block
from quantize_cli.schemes.scaled.readers import (
    BlockScales,
    FloatsOf4Bits,
    IntegersOf4Bits,
    NibblePairs,
    RowPairs,
    ScaledScales,
)
from quantize_cli.schemes.scaled.rows import ScaledColumns, ScaledFloats

_ALGORITHMS = (
    "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "FP8_PB_REAL", "NVFP4", "W4A16_NVFP4", "NVFP4_AWQ", "MXFP8",
    "W4A8_NVFP4_FP8", "W4A8_MXFP4_FP8", "MXFP4", "W8A16", "W8A8_SQ_PER_CHANNEL", "W4A16_AWQ", "INT4_AWQ",
    "MIXED_PRECISION",
)  # fmt: skip
_SQUARE = (128, 128)


def decoder(settings: Settings) -> Decoder:
    layers = settings.inner("quantized_layers")
    for stated in (settings, *map(layers.inner, layers.values)):
        if stated.text("quant_algo", _ALGORITHMS[0]).upper() not in _ALGORITHMS:
            raise stated.refuse("quant_algo")
    if settings.values.get("group_size") is None:
        return partial(_decode, None)
    size = settings.integer("group_size")
    if size < 1:
        raise settings.refuse("group_size")
    return partial(_decode, size)


def _decode(group_size: int | None, group: Group) -> Tensor | None:
    if ".weight_scale" not in group:
        return None
    stored = matrix.stack(group, ".weight", (*matrix.FLOATS_OF_8_BITS, *matrix.BYTES, *matrix.WIDE))
    matrix.refuse_float(group, stored)
    source, shape, kind = _matrix(group_size, group, stored)
    if ".pre_quant_scale" in group:
        source = matrix.with_factors(source, group.parts[".pre_quant_scale"], shape[-1])
        kind = f"{kind} with factors of columns"
    return decoded(group, source, shape, f"modelopt, {kind}")


def _matrix(group_size: int | None, group: Group, stored: StoredTensor) -> tuple[Source, tuple[int, ...], str]:
    """The matrix without factors, its shape, and what kind it is."""
    scales = group.part(".weight_scale", (*grid.FLOATS, *grid.EXPONENTS))
    if stored.dtype == "I8":
        scales = group.part(".weight_scale", matrix.WIDE)
        return matrix.of_integers(stored, scales, (grid.CHANNEL,)), stored.shape, "int8"
    if stored.dtype in matrix.FLOATS_OF_8_BITS:
        is_mxfp8 = scales.dtype in grid.EXPONENTS
        blocks = ((1, 32),) if is_mxfp8 else _blocks(stored.shape, scales.shape)
        return matrix.of_8_bits(stored, scales, blocks), stored.shape, "mxfp8" if is_mxfp8 else "fp8"
    if scales.dtype in matrix.WIDE:
        return _int4(group_size, stored, scales)
    floats = matrix.floats_of_4_bits(stored, scales)
    if scales.dtype in grid.EXPONENTS:
        return floats, floats.shape, "mxfp4"
    floats = matrix.with_outer(floats, group.part(".weight_scale_2", ("F32",)), divided=False)
    return floats, floats.shape, "nvfp4"


def _blocks(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[Block, ...]:
    """The blocks that floats of eight bits may have; those of scales (n, 1, m, 1) are squares."""
    if len(scales) != 4 or not scales[0]:
        return grid.TENSOR, grid.CHANNEL
    side = shape[-2] // scales[0] or 1
    return _SQUARE, (side, side)


def _int4(
    group_size: int | None, stored: StoredTensor, scales: StoredTensor
) -> tuple[AffineRows, tuple[int, ...], str]:
    *before, half, columns = stored.shape
    shape = (*before, 2 * half, columns)
    groups = max(1, scales.shape[-1]) if len(scales.shape) > 1 else 1
    width = -(-columns // groups)
    if columns % groups or group_size not in (None, width):
        told = f"groups of {group_size} are {-(-columns // group_size)}" if group_size else "which they do not divide"
        raise InputError(f"{origin(scales)} has {groups} scales for {columns} columns, {told}", DAMAGED_HINT)
    laid = grid.block_scales(scales, shape, (1, width))
    codes = IntegersOf4Bits(RowPairs(stored))
    return matrix.integers(codes, shape, 4, laid, (1, width), None), shape, "int4"


SCHEME = Scheme(
    methods=("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"),
    endings=(".weight", ".weight_scale", ".weight_scale_2", ".pre_quant_scale"),
    marks=(".weight_scale_2", ".pre_quant_scale"),
    decoder=decoder,
    sources=(
        AffineRows, BlockScales, Constant, FloatsOf4Bits, IntegersOf4Bits, NibblePairs, RowPairs, Rows, ScaledColumns,
        ScaledFloats, ScaledScales,
    ),
    dropped=(".input_scale", ".output_scale", ".k_scale", ".v_scale", ".q_scale"),
)  # fmt: skip

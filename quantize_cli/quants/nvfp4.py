"""NVFP4: 64 weights in 36 bytes, 4.5 bits each: floats of four bits; four groups of 16 under floats of eight.

    byte   0           4                 36
           | scales    | 4 x nibbles     |
    scales: 4 x UE4M3, four bits of exponent (less 7) over three of mantissa; the smallest exponent has no leading one.
    Nibbles: byte 8 * k + i, i = 0..7, holds code 16 * k + i low and code 16 * k + 8 + i high.

    weight = scale / 2 * LEVELS[code]        scale = largest magnitude of the group / 6, rounded; see shared/e2m1.py

Importance changes nothing. Source: block_nvfp4, quantize_row_nvfp4_ref, ggml_fp32_to_ue4m3, dequantize_row_nvfp4.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.shared import e2m1

f32 = np.float32
BLOCK = np.dtype([("scale_code", "u1", 4), ("nibbles", "u1", 32)])
CODES = np.dtype([("scale_code", "u1", 4), ("code", "u1", 64)])


def _half_scales() -> np.ndarray:
    """Half of what each byte is as UE4M3 (256,) f32; the top bit is not looked at, and 127, a NaN, is 0."""
    exponent, mantissa = np.divmod(np.arange(256) & 127, 8)
    scales = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
    scales[127] = 0
    return (scales / 2).astype(np.float32)


_HALF_SCALES = _half_scales()


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 64)
    codes = np.empty(len(weights), CODES)
    _quantize(weights, *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, scale_code, code):
    for block in range(weights.shape[0]):
        for group in range(4):
            found = _to_ue4m3(e2m1.largest_magnitude(weights, block, 16 * group, 16) / f32(6))
            scale_code[block, group] = found
            e2m1.encode(weights, block, 16 * group, _HALF_SCALES[found], code)


@inlined
def _to_ue4m3(number):
    """The nearest UE4M3, halves up; what rounds to 256 or more becomes 448, and nothing rounds up to 2**-6."""
    if number < f32(2**-6):
        return min(7, int(number * f32(512) + f32(0.5)))
    rounded = ((f32(number).view(np.int32) + (1 << 19)) >> 20) - (120 << 3)  # exponent over three bits of mantissa
    return rounded if rounded < 15 << 3 else 126


@kernel
def _dequantize(scale_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(4):
            e2m1.decode(code, block, 16 * group, _HALF_SCALES[scale_code[block, group]], weights)


@kernel
def _pack_nibbles(code, nibbles):
    for block in range(code.shape[0]):
        for group in range(4):
            for i in range(8):
                nibbles[block, 8 * group + i] = code[block, 16 * group + i] | code[block, 16 * group + 8 + i] << 4


@kernel
def _unpack_nibbles(nibbles, code):
    for block in range(code.shape[0]):
        for group in range(4):
            for i in range(8):
                both = nibbles[block, 8 * group + i]
                code[block, 16 * group + i], code[block, 16 * group + 8 + i] = both & 15, both >> 4


_MOVER = fields.mover(CODES, BLOCK, fields.Move(_pack_nibbles, _unpack_nibbles, ("code",), ("nibbles",)))
QUANT = QuantType(GgmlType.NVFP4, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize))

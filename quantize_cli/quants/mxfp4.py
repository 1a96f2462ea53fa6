"""MXFP4: 32 weights in 17 bytes, 4.25 bits each: floats of four bits under a power of two.

    byte   0           1                 17
           | exponent  | 16 x nibbles    |
    Nibbles: see packing/nibbles.py.

    weight = 2**(exponent - 128) * LEVELS[code]        code in 0..15; see shared/e2m1.py

The exponent is floor(log2(largest magnitude)) - 2 + 127 in one byte, 0 for a block of zeros. Importance changes
nothing. Source: block_mxfp4, quantize_row_mxfp4_ref, dequantize_row_mxfp4; OCP Microscaling Formats 1.0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.nibbles import pack_nibbles, unpack_nibbles
from quantize_cli.quants.shared import e2m1

f32 = np.float32
BLOCK = np.dtype([("exponent", "u1"), ("nibbles", "u1", 16)])
CODES = np.dtype([("exponent", "u1"), ("code", "u1", 32)])
_HALF_SCALES = np.ldexp(np.ones(256, np.float32), np.arange(256) - 128)


def _logarithm_reaches(power: int) -> np.float32:
    """The smallest number whose log2f is `power`: the function rounds up to it from half a float's step below."""
    exact = f32(power)
    half_step = (float(exact) - float(np.nextafter(exact, f32(-np.inf)))) / 2
    reached = 2.0 ** (power - half_step)
    nearest = f32(reached)
    return nearest if float(nearest) >= reached else f32(np.nextafter(nearest, f32(np.inf)))


_LOWEST = -149
_REACHED = np.array([_logarithm_reaches(power) for power in range(_LOWEST, 129)], np.float32)


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 32)
    codes = np.empty(len(weights), CODES)
    _quantize(weights, *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, exponent, code):
    for block in range(weights.shape[0]):
        magnitude = e2m1.largest_magnitude(weights, block, 0, 32)
        found = (_floor_log2(magnitude) + 125) & 255 if magnitude > f32(0) else 0
        exponent[block] = found
        e2m1.encode(weights, block, 0, _HALF_SCALES[found], code)
        e2m1.encode(weights, block, 16, _HALF_SCALES[found], code)


@inlined
def _floor_log2(number):
    """floorf(log2f(number)) of a positive finite number."""
    if number < f32(2**-126):
        power = (f32(f32(number).view(np.int32)).view(np.int32) >> 23) - 127 + _LOWEST  # a denormal counts 2**-149s
    else:
        power = (f32(number).view(np.int32) >> 23) - 127
    return power + 1 if power < 128 and number >= _REACHED[power + 1 - _LOWEST] else power


@kernel
def _dequantize(exponent, code, weights):
    for block in range(code.shape[0]):
        e2m1.decode(code, block, 0, _HALF_SCALES[exponent[block]], weights)
        e2m1.decode(code, block, 16, _HALF_SCALES[exponent[block]], weights)


_MOVER = fields.mover(CODES, BLOCK, fields.Move(pack_nibbles, unpack_nibbles, ("code",), ("nibbles",)))
QUANT = QuantType(GgmlType.MXFP4, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize))

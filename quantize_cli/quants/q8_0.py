"""Q8_0: 32 weights in 34 bytes, 8.5 bits each.

    byte   0    2                 34
           | d  | 32 codes, i8    |
    d: f16.

    weight = d * code        d = largest magnitude / 127, code = weight / d rounded half away from zero

Importance changes nothing. Source: block_q8_0, quantize_row_q8_0_ref, dequantize_row_q8_0.
"""

import numpy as np

from formats.ggml import GgmlType
from quantize_cli.kernel import kernel
from quantize_cli.quants._type import QuantType
from quantize_cli.simd import (
    absolute,
    bits,
    fitting_int_away,
    float_from_bits,
    from_half,
    largest,
    load,
    maximum,
    store,
    to_float,
    to_half,
    to_int,
)  # fmt: skip

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("code", "i1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 32)
    codes = np.empty(len(weights), BLOCK)
    _quantize(weights, codes["scale"].view(np.uint16), codes["code"])
    return codes


def pack(codes: np.ndarray) -> np.ndarray:
    """The codes themselves: the file stores them as they are."""
    return codes


def unpack(blocks: np.ndarray) -> np.ndarray:
    """The blocks themselves."""
    return blocks


def dequantize(codes: np.ndarray) -> np.ndarray:
    weights = np.empty((len(codes), 32), np.float32)
    _dequantize(codes["scale"].view(np.uint16), codes["code"], weights)
    return weights


@kernel
def _quantize(weights, scale, code):
    for block in range(weights.shape[0]):
        first, second = load(weights, block, 0), load(weights, block, 16)
        d = float_from_bits(largest(bits(maximum(absolute(first), absolute(second))))) / f32(127)
        inverse = f32(1) / d if d != f32(0) else f32(0)
        scale[block] = to_half(d)
        if inverse < f32(np.inf):
            store(code, block, 0, fitting_int_away(first * inverse))
            store(code, block, 16, fitting_int_away(second * inverse))
        else:  # d is denormal: infinities, and NaN from zeros
            store(code, block, 0, to_int(first * inverse))
            store(code, block, 16, to_int(second * inverse))


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        store(weights, block, 0, d * to_float(load(code, block, 0)))
        store(weights, block, 16, d * to_float(load(code, block, 16)))


QUANT = QuantType(GgmlType.Q8_0, BLOCK, quantize, pack, unpack, dequantize)

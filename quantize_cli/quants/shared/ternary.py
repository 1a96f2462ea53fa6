"""What TQ1_0, TQ2_0 and Q2_0 share: a block's largest magnitude is its scale, and codes 0..2 stand for -1, 0 and 1.

    weight = d * (code - 1)

Source: quantize_row_tq1_0_ref, quantize_row_tq2_0_ref, quantize_row_q2_0_ref, and their dequantize_row_.
"""

import numpy as np

from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import (
    absolute,
    bits,
    float_from_bits,
    from_half,
    largest,
    load,
    maximum,
    round_half_away,
    select,
    splat,
    store,
    to_float,
    to_half,
    to_int,
)

f32 = np.float32


def quantize(weights: np.ndarray, codes: np.ndarray, overflow: int) -> np.ndarray:
    """Weights (rows, columns) f32 -> `codes`, filled.

    Where the scale is so small that its inverse is infinite, a code is `overflow`: what the reference's conversion
    to an integer leaves of infinities and NaN.
    """
    width = codes["code"].shape[1]
    _quantize(weights.reshape(-1, width), overflow, codes["scale"].view(np.uint16), codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    """Codes (n,) -> weights (n, block weights) f32."""
    weights = np.empty(codes["code"].shape, np.float32)
    _dequantize(codes["scale"].view(np.uint16), codes["code"], weights)
    return weights


@kernel
def _quantize(weights, overflow, scale, code):
    for block in range(weights.shape[0]):
        magnitude = splat(f32(0))
        for i in range(0, weights.shape[1], 16):
            magnitude = maximum(absolute(load(weights, block, i)), magnitude)
        d = float_from_bits(largest(bits(magnitude)))
        inverse = f32(1) / d if d > f32(0) else f32(0)
        scale[block] = to_half(d)
        for i in range(0, weights.shape[1], 16):
            rounded = round_half_away(load(weights, block, i) * inverse)
            level = select(absolute(rounded) <= f32(1), to_int(rounded) + 1, splat(overflow))
            store(code, block, i, level)


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        for i in range(0, code.shape[1], 16):
            store(weights, block, i, d * to_float(load(code, block, i) - 1))

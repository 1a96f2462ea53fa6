"""What TQ1_0, TQ2_0 and Q2_0 share: a block's largest magnitude is its scale, and codes 0..2 stand for -1, 0 and 1.

    weight = d * (code - 1)

Source: quantize_row_tq1_0_ref, quantize_row_tq2_0_ref, quantize_row_q2_0_ref, and their dequantize_row_.
"""

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields

f32 = np.float32


def quant_of(type_: GgmlType, block: np.dtype, move: fields.Move, top: int = 1, overflow: int = 1) -> QuantType:
    """The type whose block is the dtype `block`, with levels -1..top.

    Where the scale is so small that its inverse is infinite, a code is `overflow`: what the reference's conversion
    to an integer leaves of infinities and NaN.
    """
    width = BLOCK_SHAPE[type_].weights
    dtype = np.dtype([("scale", "<f2"), ("code", "u1", width)])

    def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        codes = np.empty(weights.size // width, dtype)
        _quantize(weights.reshape(-1, width), overflow, *fields.arrays(codes))
        return codes

    grid = Grid(even(-1, top), group=width)
    return QuantType(
        type_, block, quantize, *fields.mover(dtype, block, move), fields.dequantizer(_dequantize), grid=grid
    )


@kernel
def _quantize(weights, overflow, scale, code):
    for block in range(weights.shape[0]):
        magnitude = simd.splat(f32(0))
        for i in range(0, weights.shape[1], 16):
            magnitude = simd.maximum(simd.absolute(simd.load(weights, block, i)), magnitude)
        d = simd.float_from_bits(simd.largest(simd.bits(magnitude)))
        inverse = f32(1) / d if d > f32(0) else f32(0)
        scale[block] = simd.to_half(d)
        for i in range(0, weights.shape[1], 16):
            rounded = simd.round_half_away(simd.load(weights, block, i) * inverse)
            level = simd.select(simd.absolute(rounded) <= f32(1), simd.to_int(rounded) + 1, simd.splat(overflow))
            simd.store(code, block, i, level)


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = simd.from_half(scale[block])
        for i in range(0, code.shape[1], 16):
            simd.store(weights, block, i, d * simd.to_float(simd.load(code, block, i) - 1))

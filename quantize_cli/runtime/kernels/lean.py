"""Scores that fall with distance: "Train Short, Test Long: Attention with Linear Biases" (ALiBi)."""

import numpy as np

from quantize_cli.jit import simd
from quantize_cli.jit.kernel import merged

f32, i32 = np.float32, np.int32
_LANES = 16


@merged
def lean(scores, row, column, stride, blocks, slope, own):
    """Take slope times the distance to position `own` from the scores of a row, sixteen positions to a block.

    Blocks begin at position 0 and lie `stride` columns apart, the first at `column`.
    """
    for block in range(blocks):
        at = column + block * stride
        distance = simd.to_float(simd.lane_numbers() + i32(block * _LANES - own))
        simd.store(scores, row, at, simd.load(scores, row, at) + distance * slope)

"""What the types with a scale for each sixteen columns share: Q2_K, Q3_K, Q6_K.

A type says how half a block becomes codes, `codes_of(block, half)` -> those of 64 columns and of the next 64, and what
the scales and offsets of its sixteen groups are, `scales_of(block)`.
"""

import numpy as np

from quantize_cli.dots.kernels.lanes import fused, shuffled
from quantize_cli.dots.kernels.memory import load_bytes, load_floats, store_bytes
from quantize_cli.dots.kernels.products import dot4
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import splat, to_float

_first = shuffled(tuple(lane // 4 for lane in range(16)))
_second = shuffled(tuple(4 + lane // 4 for lane in range(16)))
_third = shuffled(tuple(8 + lane // 4 for lane in range(16)))
_fourth = shuffled(tuple(12 + lane // 4 for lane in range(16)))


@merged
def _product(x, codes):
    """Codes of 64 columns times their activations."""
    return to_float(dot4(splat(np.int32(0)), codes, load_bytes(x)))


@merged
def add_block(total, rest, block, x, x_scale, x_sums, codes_of, scales_of):
    """Add a block to the sums of a row; see _super.py."""
    scale, offset = scales_of(block)
    rest = fused(offset, load_floats(x_sums), rest)
    scale = scale * x_scale
    first, second = codes_of(block, 0)
    total = fused(_product(x, first), _first(scale), total)
    total = fused(_product(x + 64, second), _second(scale), total)
    first, second = codes_of(block, 1)
    total = fused(_product(x + 128, first), _third(scale), total)
    return fused(_product(x + 192, second), _fourth(scale), total), rest


@merged
def open_block(block, codes, scales, offsets, codes_of, scales_of):
    """Open a block; see _super.py."""
    for half in range(2):
        first, second = codes_of(block, half)
        store_bytes(codes + 128 * half, first)
        store_bytes(codes + 128 * half + 64, second)
    scale, offset = scales_of(block)
    store_bytes(scales, scale)
    store_bytes(offsets, offset)

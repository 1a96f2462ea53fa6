"""What Q4_K and Q5_K share: eight 6-bit scales and minima behind two halves; quants/shared/k_scales.py draws them.

A type says how half a block becomes codes: `codes_of(block, half)` gives, of 128 columns, the first and third 32, and
the second and fourth.
"""

import numpy as np

from quantize_cli.dots.kernels.lanes import fused, shuffled, six_bit_bytes_at
from quantize_cli.dots.kernels.memory import half_at, join_halves, load_floats, store_halves
from quantize_cli.dots.kernels.products import dot4
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import bits, lanes_where, select, splat, to_float

_FIRST_EIGHT = np.uint16(0x00FF)
_first_and_third = shuffled((0,) * 8 + (2,) * 8)
_second_and_fourth = shuffled((1,) * 8 + (3,) * 8)
_fifth_and_seventh = shuffled((4,) * 8 + (6,) * 8)
_sixth_and_eighth = shuffled((5,) * 8 + (7,) * 8)
_offsets_twice = shuffled(tuple(8 + lane // 2 for lane in range(16)))
"""The offset of each 32 columns beside both of its sums of sixteen."""


@merged
def _scales_and_offsets(block):
    """Eight scales in the first lanes and eight offsets, which are minima taken negative, in the last."""
    both = six_bit_bytes_at(block + 4)
    return to_float(both) * select(lanes_where(_FIRST_EIGHT), splat(half_at(block)), splat(-half_at(block + 2)))


@merged
def _product(x, codes):
    """Codes of 64 columns, 32 of them 64 behind the others, times their activations."""
    return to_float(dot4(splat(np.int32(0)), codes, join_halves(x, x + 64)))


@merged
def add_block(total, rest, block, x, x_scale, x_sums, codes_of):
    """Add a block to the sums of a row; see _super.py."""
    both = _scales_and_offsets(block)
    scale = both * x_scale
    first, second = codes_of(block, 0)
    total = fused(_product(x, first), _first_and_third(scale), total)
    total = fused(_product(x + 32, second), _second_and_fourth(scale), total)
    first, second = codes_of(block, 1)
    total = fused(_product(x + 128, first), _fifth_and_seventh(scale), total)
    total = fused(_product(x + 160, second), _sixth_and_eighth(scale), total)
    return total, fused(_offsets_twice(both), load_floats(x_sums), rest)


@merged
def open_block(block, codes, scales, offsets, codes_of):
    """Open a block; see _super.py."""
    for half in range(2):
        first, second = codes_of(block, half)
        at = codes + 128 * half
        store_halves(first, at, at + 64)
        store_halves(second, at + 32, at + 96)
    store_halves(bits(_scales_and_offsets(block)), scales, offsets)

"""What Q4_K and Q5_K share: eight 6-bit scales and minima behind two halves; quants/shared/k_scales.py draws them.

A type says how half a block becomes codes: `codes_of(block, half)` gives, of 128 columns, the first and third 32, and
the second and fourth.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import Dot, offsets
from quantize_cli.dots.shared import blocks_of_256
from quantize_cli.dots.shared.blocks_of_256 import times
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import bits, lanes_where, multiply_add, select, splat, to_float
from quantize_cli.jit.simd.addresses import half_at, join_halves, load_floats, store_halves
from quantize_cli.jit.simd.packed import shuffled, six_bit_bytes_at

_FIRST_EIGHT = np.uint16(0x00FF)
_first_and_third = shuffled((0,) * 8 + (2,) * 8)
_second_and_fourth = shuffled((1,) * 8 + (3,) * 8)
_fifth_and_seventh = shuffled((4,) * 8 + (6,) * 8)
_sixth_and_eighth = shuffled((5,) * 8 + (7,) * 8)
_offsets_twice = shuffled(tuple(8 + lane // 2 for lane in range(16)))
"""The offset of each 32 columns beside both of its sums of sixteen."""


def dot_of(block: np.dtype, codes_of: Any) -> Dot:
    """The products of a type whose block is the dtype `block`."""
    at = offsets(block)
    scale_at, minimum_at, pairs_at = at.scale, at.minimum, at.pairs

    @merged
    def scales_and_offsets(block):
        """Eight scales in the first lanes and eight offsets, which are minima taken negative, in the last."""
        scale, minimum = half_at(block + scale_at), half_at(block + minimum_at)
        signed = select(lanes_where(_FIRST_EIGHT), splat(scale), splat(-minimum))
        return to_float(six_bit_bytes_at(block + pairs_at)) * signed

    @merged
    def add_block(total, rest, block, x, x_scale, x_sums):
        both = scales_and_offsets(block)
        scale = both * x_scale
        first, second = codes_of(block, 0)
        total = multiply_add(times(first, join_halves(x, x + 64)), _first_and_third(scale), total)
        total = multiply_add(times(second, join_halves(x + 32, x + 96)), _second_and_fourth(scale), total)
        first, second = codes_of(block, 1)
        total = multiply_add(times(first, join_halves(x + 128, x + 192)), _fifth_and_seventh(scale), total)
        total = multiply_add(times(second, join_halves(x + 160, x + 224)), _sixth_and_eighth(scale), total)
        return total, multiply_add(_offsets_twice(both), load_floats(x_sums), rest)

    @merged
    def unpack_block(block, codes, scales, offsets):
        for half in range(2):
            first, second = codes_of(block, half)
            at = codes + 128 * half
            store_halves(first, at, at + 64)
            store_halves(second, at + 32, at + 96)
        store_halves(bits(scales_and_offsets(block)), scales, offsets)

    return blocks_of_256.dot_of(block, 32, add_block, unpack_block)

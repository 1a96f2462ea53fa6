"""What the types with a scale for each sixteen columns share: Q2_K, Q3_K, Q6_K, and IQ4_XS, whose scales stand twice.

A type says how half a block becomes codes, `codes_of(block, half)` -> those of 64 columns and of the next 64, and what
the scales and offsets of its sixteen groups are, `scales_of(block)`.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.shared import blocks_of_256
from quantize_cli.dots.shared.blocks_of_256 import times
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import multiply_add
from quantize_cli.jit.simd.addresses import load_bytes, load_floats, store_bytes
from quantize_cli.jit.simd.packed import shuffled

_first = shuffled(tuple(lane // 4 for lane in range(16)))
_second = shuffled(tuple(4 + lane // 4 for lane in range(16)))
_third = shuffled(tuple(8 + lane // 4 for lane in range(16)))
_fourth = shuffled(tuple(12 + lane // 4 for lane in range(16)))


def dot_of(block: np.dtype, codes_of: Any, scales_of: Any) -> Dot:
    """The products of a type whose block is the dtype `block`."""

    @merged
    def add_block(total, rest, block, x, x_scale, x_sums):
        scale, offset = scales_of(block)
        rest = multiply_add(offset, load_floats(x_sums), rest)
        scale = scale * x_scale
        first, second = codes_of(block, 0)
        total = multiply_add(times(first, load_bytes(x)), _first(scale), total)
        total = multiply_add(times(second, load_bytes(x + 64)), _second(scale), total)
        first, second = codes_of(block, 1)
        total = multiply_add(times(first, load_bytes(x + 128)), _third(scale), total)
        return multiply_add(times(second, load_bytes(x + 192)), _fourth(scale), total), rest

    @merged
    def unpack_block(block, codes, scales, offsets):
        for half in range(2):
            first, second = codes_of(block, half)
            store_bytes(codes + 128 * half, first)
            store_bytes(codes + 128 * half + 64, second)
        scale, offset = scales_of(block)
        store_bytes(scales, scale)
        store_bytes(offsets, offset)

    return blocks_of_256.dot_of(block, 16, add_block, unpack_block)

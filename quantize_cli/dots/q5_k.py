"""Products with Q5_K; quants/q5_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.k_scales import dot_of
from quantize_cli.dots.shared.nibbles import NIBBLES
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.addresses import join_halves, load_bytes
from quantize_cli.jit.simd.packed import constant
from quantize_cli.quants.q5_k import BLOCK

_OFFSET = offsets(BLOCK)
_ONES = np.int32(0x01010101)
_groups = constant((0,) * 8 + (2,) * 8)
"""Behind the first of the 128 columns' four groups of 32: bit g of a high byte belongs to group g of the block."""


@merged
def _codes(block, half):
    """Of 128 columns the first and third 32, and the second and fourth."""
    at = block + _OFFSET.fifth_bits
    both, high = load_bytes(block + _OFFSET.nibbles + 64 * half), join_halves(at, at) >> _groups()
    first, second = (high >> 4 * half) & _ONES, (high >> 4 * half + 1) & _ONES
    return (both & NIBBLES) | first << 4, ((both >> 4) & NIBBLES) | second << 4


DOT = dot_of(BLOCK, _codes)

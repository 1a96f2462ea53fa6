"""Products with Q2_K; quants/q2_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.groups_of_16 import dot_of
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import splat, to_float
from quantize_cli.jit.simd.addresses import half_at, join_halves, unsigned_bytes_at
from quantize_cli.jit.simd.packed import constant
from quantize_cli.quants.q2_k import BLOCK

_OFFSET = offsets(BLOCK)
_PAIRS = np.int32(0x03030303)
_groups = constant((0,) * 8 + (2,) * 8)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64: bits 0-1, 2-3, 4-5, 6-7 of a byte belong to the four 32 columns."""
    at = block + _OFFSET.quarters + 32 * half
    four = join_halves(at, at) >> _groups()
    return four & _PAIRS, (four >> 4) & _PAIRS


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    both = unsigned_bytes_at(block + _OFFSET.nibbles)
    scale, minimum = half_at(block + _OFFSET.scale), half_at(block + _OFFSET.minimum)
    return to_float(both & 15) * splat(scale), to_float(both >> 4) * splat(-minimum)


DOT = dot_of(BLOCK, _codes, _scales)

"""Products with Q6_K; quants/q6_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.groups_of_16 import dot_of
from quantize_cli.dots.shared.nibbles import NIBBLES
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import lanes_where, select, splat, to_float
from quantize_cli.jit.simd.addresses import half_at, join_halves, load_bytes, signed_bytes_at
from quantize_cli.quants.q6_k import BLOCK

_OFFSET = offsets(BLOCK)
_HIGH = np.int32(0x30303030)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64."""
    at = block + _OFFSET.high + 32 * half
    low, high = load_bytes(block + _OFFSET.low + 64 * half), join_halves(at, at)
    # Bits 0-1, 2-3, 4-5, 6-7 of a high byte belong to the four 32 columns.
    left = select(lanes_where(np.uint16(0x00FF)), high << 4, high << 2)
    right = select(lanes_where(np.uint16(0x00FF)), high, high >> 2)
    return (low & NIBBLES) | (left & _HIGH), ((low >> 4) & NIBBLES) | (right & _HIGH)


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    scale = to_float(signed_bytes_at(block + _OFFSET.scale_code)) * splat(half_at(block + _OFFSET.scale))
    return scale, scale * np.float32(-32)


DOT = dot_of(BLOCK, _codes, _scales)

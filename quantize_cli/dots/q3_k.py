"""Products with Q3_K; quants/q3_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.groups_of_16 import dot_of
from quantize_cli.dots.shared.nibbles import NIBBLES
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import splat, to_float
from quantize_cli.jit.simd.addresses import half_at, int_at, join_halves
from quantize_cli.jit.simd.packed import bytes_of, constant
from quantize_cli.quants.q3_k import BLOCK

_OFFSET = offsets(BLOCK)
_PAIRS, _ONES = np.int32(0x03030303), np.int32(0x01010101)
_groups, _group_bits = constant((0,) * 8 + (2,) * 8), constant((0,) * 8 + (1,) * 8)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64: two bits of four in a byte, and bit g of a high byte for group g of 32."""
    low_at, high_at = block + _OFFSET.quarters + 32 * half, block + _OFFSET.third_bits
    four, high = join_halves(low_at, low_at) >> _groups(), join_halves(high_at, high_at) >> _group_bits()
    first, second = (high >> 4 * half) & _ONES, (high >> 4 * half + 2) & _ONES
    return (four & _PAIRS) | first << 2, ((four >> 4) & _PAIRS) | second << 2


@merged
def _scales(block):
    """Sixteen scales, of six bits, and offsets."""
    scales = block + _OFFSET.scales
    first, second, high = int_at(scales), int_at(scales + 4), int_at(scales + 8)
    six = bytes_of(
        (first & NIBBLES) | (high & _PAIRS) << 4,
        (second & NIBBLES) | ((high >> 2) & _PAIRS) << 4,
        ((first >> 4) & NIBBLES) | ((high >> 4) & _PAIRS) << 4,
        ((second >> 4) & NIBBLES) | ((high >> 6) & _PAIRS) << 4,
    )
    scale = to_float(six - 32) * splat(half_at(block + _OFFSET.scale))
    return scale, scale * np.float32(-4)


DOT = dot_of(BLOCK, _codes, _scales)

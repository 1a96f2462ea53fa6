"""Products with IQ4_XS; quants/iq4_xs.py draws its block.

Its points are taken 128 higher, to be unsigned; each scale stands twice, as if it were for sixteen columns.
"""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.kernels.products import byte_table
from quantize_cli.dots.shared.groups_of_16 import dot_of
from quantize_cli.dots.shared.nibbles import NIBBLES
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import lanes_where, select, splat, to_float
from quantize_cli.jit.simd.addresses import half_at, int_at, join_quarters
from quantize_cli.jit.simd.packed import constant
from quantize_cli.quants.iq4_xs import BLOCK
from quantize_cli.quants.shared.nonlinear import LEVELS

_OFFSET = offsets(BLOCK)
_point = byte_table(tuple(int(point) + 128 for point in LEVELS))
_low = constant(tuple(4 * (lane // 2) for lane in range(16)))
_high = constant(tuple(2 * (lane // 2) for lane in range(16)))
"""Where the low four and the high two bits of each scale begin."""
_LAST_SIXTEENS = np.uint16(0xF0F0)


@merged
def _columns(at):
    """The codes of 64 columns, two groups of sixteen bytes: low nibbles are the first sixteen columns."""
    twice = join_quarters(at, at, at + 16, at + 16)
    return _point(select(lanes_where(_LAST_SIXTEENS), twice >> 4, twice) & NIBBLES)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64."""
    at = block + _OFFSET.nibbles + 64 * half
    return _columns(at), _columns(at + 32)


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    low = splat(int_at(block + _OFFSET.low)) >> _low()
    high = splat(int_at(block + _OFFSET.high - 2) >> 16) >> _high()
    scale = to_float(((low & 15) | (high & 3) << 4) - 32) * splat(half_at(block + _OFFSET.scale))
    return scale, scale * np.float32(-128)


DOT = dot_of(BLOCK, _codes, _scales)

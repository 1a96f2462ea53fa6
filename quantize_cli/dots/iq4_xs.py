"""Products with IQ4_XS; quants/iq4_xs.py draws its block.

Its points are taken 128 higher, to be unsigned; each scale stands twice, as if it were for sixteen columns.
"""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.lanes import constant
from quantize_cli.dots.kernels.memory import half_at, int_at, join_quarters
from quantize_cli.dots.kernels.products import byte_table
from quantize_cli.dots.shared import groups_of_16
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.jit.simd import lanes_where, select, splat, to_float
from quantize_cli.quants.shared.nonlinear import LEVELS

_NBYTES = 136
_NIBBLES = np.int32(0x0F0F0F0F)
_point = byte_table(tuple(int(point) + 128 for point in LEVELS))
_low, _high = (
    constant(tuple(4 * (lane // 2) for lane in range(16))),
    constant(tuple(2 * (lane // 2) for lane in range(16))),
)
"""Where the low four and the high two bits of each scale begin."""
_LAST_SIXTEENS = np.uint16(0xF0F0)


@merged
def _columns(at):
    """The codes of 64 columns, two groups of sixteen bytes: low nibbles are the first sixteen columns."""
    twice = join_quarters(at, at, at + 16, at + 16)
    return _point(select(lanes_where(_LAST_SIXTEENS), twice >> 4, twice) & _NIBBLES)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64."""
    at = block + 8 + 64 * half
    return _columns(at), _columns(at + 32)


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    low, high = splat(int_at(block + 4)) >> _low(), splat(int_at(block) >> 16) >> _high()
    scale = to_float(((low & 15) | (high & 3) << 4) - 32) * splat(half_at(block))
    return scale, scale * np.float32(-128)


@merged
def _add_block(total, rest, block, x, x_scale, x_sums):
    return groups_of_16.add_block(total, rest, block, x, x_scale, x_sums, _codes, _scales)


@merged
def _open_block(block, codes, scales, offsets):
    groups_of_16.open_block(block, codes, scales, offsets, _codes, _scales)


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, _add_block)


@opener
def _open(row, columns, codes, scales, offsets):
    open_row(row, columns, codes, scales, offsets, _NBYTES, 16, _open_block)


DOT = Dot(_rows, _open, group=16, super_block=True)

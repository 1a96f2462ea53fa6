"""Products with Q2_K; quants/q2_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.lanes import constant
from quantize_cli.dots.kernels.memory import half_at, join_halves, unsigned_bytes_at
from quantize_cli.dots.shared import groups_of_16
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.jit.simd import splat, to_float

_NBYTES = 84
_TWO = np.int32(0x03030303)
_groups = constant((0,) * 8 + (2,) * 8)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64: bits 0-1, 2-3, 4-5, 6-7 of a byte belong to the four 32 columns."""
    four = join_halves(block + 16 + 32 * half, block + 16 + 32 * half) >> _groups()
    return four & _TWO, (four >> 4) & _TWO


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    both = unsigned_bytes_at(block)
    return to_float(both & 15) * splat(half_at(block + 80)), to_float(both >> 4) * splat(-half_at(block + 82))


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

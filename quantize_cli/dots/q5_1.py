"""Products with Q5_1; quants/q5_1.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.memory import halves_at, join_quarters
from quantize_cli.dots.shared.blocks_of_32 import multiply_rows, open_row
from quantize_cli.dots.shared.fifth_bits import fifth_bits
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation

_NBYTES, _FACTOR = 24, np.float32(1)
_NIBBLES = np.int32(0x0F0F0F0F)


@merged
def _codes(a, b, c, d):
    both = join_quarters(a + 8, b + 8, c + 8, d + 8)
    first, last = fifth_bits(a + 4, b + 4, c + 4, d + 4)
    return (both & _NIBBLES) | first, ((both >> 4) & _NIBBLES) | last


@merged
def _scales(a, b, c, d):
    return halves_at(a, b, c, d), halves_at(a + 2, b + 2, c + 2, d + 2)


@merged
def _run_scales(block):
    return _scales(block, block + _NBYTES, block + 2 * _NBYTES, block + 3 * _NBYTES)


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, _codes, _scales, _run_scales, _FACTOR)


@opener
def _open(row, columns, codes, scales, offsets):
    open_row(row, columns, codes, scales, offsets, _NBYTES, _codes, _scales, _FACTOR)


DOT = Dot(_rows, _open, group=32, super_block=False, halved_sums=True)

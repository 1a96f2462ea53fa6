"""Products with Q8_0; quants/q8_0.py draws its block. A code with its sign bit flipped is the code + 128, unsigned."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.memory import halves_at, join_quarters
from quantize_cli.dots.shared.blocks_of_32 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation

_NBYTES, _FACTOR = 34, np.float32(-128)
_SIGNS = np.int32(-0x7F7F7F80)


@merged
def _codes(a, b, c, d):
    first, last = join_quarters(a + 2, b + 2, c + 2, d + 2), join_quarters(a + 18, b + 18, c + 18, d + 18)
    return first ^ _SIGNS, last ^ _SIGNS


@merged
def _scales(a, b, c, d):
    scale = halves_at(a, b, c, d)
    return scale, scale


@merged
def _run_scales(block):
    return _scales(block, block + _NBYTES, block + 2 * _NBYTES, block + 3 * _NBYTES)


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, _codes, _scales, _run_scales, _FACTOR)


@opener
def _open(row, columns, codes, scales, offsets):
    open_row(row, columns, codes, scales, offsets, _NBYTES, _codes, _scales, _FACTOR)


DOT = Dot(_rows, _open, group=32, super_block=False)

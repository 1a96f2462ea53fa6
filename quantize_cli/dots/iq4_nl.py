"""Products with IQ4_NL; quants/iq4_nl.py draws its block. Its points are taken 128 higher, to be unsigned."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.memory import halves_at, halves_of_run, join_quarters
from quantize_cli.dots.kernels.products import byte_table
from quantize_cli.dots.shared.blocks_of_32 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.quants.shared.nonlinear import LEVELS

_NBYTES, _FACTOR = 18, np.float32(-128)
_NIBBLES = np.int32(0x0F0F0F0F)
_scales_of_run = halves_of_run(_NBYTES)
_point = byte_table(tuple(int(point) + 128 for point in LEVELS))


@merged
def _codes(a, b, c, d):
    both = join_quarters(a + 2, b + 2, c + 2, d + 2)
    return _point(both & _NIBBLES), _point((both >> 4) & _NIBBLES)


@merged
def _scales(a, b, c, d):
    scale = halves_at(a, b, c, d)
    return scale, scale


@merged
def _run_scales(block):
    scale = _scales_of_run(block)
    return scale, scale


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, _codes, _scales, _run_scales, _FACTOR)


@opener
def _open(row, columns, codes, scales, offsets):
    open_row(row, columns, codes, scales, offsets, _NBYTES, _codes, _scales, _FACTOR)


DOT = Dot(_rows, _open, group=32, super_block=False)

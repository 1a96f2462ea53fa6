"""Products with MXFP4; quants/mxfp4.py draws its block. Twice its numbers are integers; 12 more, unsigned."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.lanes import quarters_of
from quantize_cli.dots.kernels.memory import byte_at, join_quarters
from quantize_cli.dots.kernels.products import byte_table
from quantize_cli.dots.shared.blocks_of_32 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.jit.simd import from_bits, select, splat
from quantize_cli.quants.shared.e2m1 import MAGNITUDES

_NBYTES, _FACTOR = 17, np.float32(-12)
_NIBBLES = np.int32(0x0F0F0F0F)
_twice = byte_table(tuple(12 + sign * int(twice) for sign in (1, -1) for twice in MAGNITUDES))
_HALF_OF_SMALLEST = np.int32(0x00200000)


@merged
def _codes(a, b, c, d):
    both = join_quarters(a + 1, b + 1, c + 1, d + 1)
    return _twice(both & _NIBBLES), _twice((both >> 4) & _NIBBLES)


@merged
def _scales(a, b, c, d):
    exponent = quarters_of(byte_at(a), byte_at(b), byte_at(c), byte_at(d))
    # Half of 2 ** (exponent - 127), of which the two smallest are denormal.
    scale = from_bits(select(exponent < 2, splat(_HALF_OF_SMALLEST) << exponent, (exponent - 1) << 23))
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

"""Products with Q5_K; quants/q5_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.lanes import constant
from quantize_cli.dots.kernels.memory import join_halves, load_bytes
from quantize_cli.dots.shared import k_scales
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation

_NBYTES = 176
_NIBBLES, _ONES = np.int32(0x0F0F0F0F), np.int32(0x01010101)
_groups = constant((0,) * 8 + (2,) * 8)
"""Behind the first of the 128 columns' four groups of 32: bit g of a high byte belongs to group g of the block."""


@merged
def _codes(block, half):
    """Of 128 columns the first and third 32, and the second and fourth."""
    both, high = load_bytes(block + 48 + 64 * half), join_halves(block + 16, block + 16) >> _groups()
    first, second = (high >> 4 * half) & _ONES, (high >> 4 * half + 1) & _ONES
    return (both & _NIBBLES) | first << 4, ((both >> 4) & _NIBBLES) | second << 4


@merged
def _add_block(total, rest, block, x, x_scale, x_sums):
    return k_scales.add_block(total, rest, block, x, x_scale, x_sums, _codes)


@merged
def _open_block(block, codes, scales, offsets):
    k_scales.open_block(block, codes, scales, offsets, _codes)


@operation
def _rows(words, thread, threads):
    multiply_rows(words, thread, threads, _NBYTES, _add_block)


@opener
def _open(row, columns, codes, scales, offsets):
    open_row(row, columns, codes, scales, offsets, _NBYTES, 32, _open_block)


DOT = Dot(_rows, _open, group=32, super_block=True)

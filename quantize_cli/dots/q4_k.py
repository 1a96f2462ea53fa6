"""Products with Q4_K; quants/q4_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.memory import load_bytes
from quantize_cli.dots.shared import k_scales
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation

_NBYTES = 144
_NIBBLES = np.int32(0x0F0F0F0F)


@merged
def _codes(block, half):
    """Of 128 columns the first and third 32, and the second and fourth."""
    both = load_bytes(block + 16 + 64 * half)
    return both & _NIBBLES, (both >> 4) & _NIBBLES


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

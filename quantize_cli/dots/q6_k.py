"""Products with Q6_K; quants/q6_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.memory import half_at, join_halves, load_bytes, signed_bytes_at
from quantize_cli.dots.shared import groups_of_16
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.jit.simd import lanes_where, select, splat, to_float

_NBYTES = 210
_NIBBLES, _HIGH = np.int32(0x0F0F0F0F), np.int32(0x30303030)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64."""
    low, high = load_bytes(block + 64 * half), join_halves(block + 128 + 32 * half, block + 128 + 32 * half)
    # Bits 0-1, 2-3, 4-5, 6-7 of a high byte belong to the four 32 columns.
    left = select(lanes_where(np.uint16(0x00FF)), high << 4, high << 2)
    right = select(lanes_where(np.uint16(0x00FF)), high, high >> 2)
    return (low & _NIBBLES) | (left & _HIGH), ((low >> 4) & _NIBBLES) | (right & _HIGH)


@merged
def _scales(block):
    """Sixteen scales and offsets."""
    scale = to_float(signed_bytes_at(block + 192)) * splat(half_at(block + 208))
    return scale, scale * np.float32(-32)


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

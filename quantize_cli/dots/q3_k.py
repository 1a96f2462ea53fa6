"""Products with Q3_K; quants/q3_k.py draws its block."""

import numpy as np

from quantize_cli.dots.interface.dot import Dot
from quantize_cli.dots.kernels.lanes import bytes_of, constant
from quantize_cli.dots.kernels.memory import half_at, int_at, join_halves
from quantize_cli.dots.shared import groups_of_16
from quantize_cli.dots.shared.blocks_of_256 import multiply_rows, open_row
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import opener, operation
from quantize_cli.jit.simd import splat, to_float

_NBYTES = 110
_TWO, _FOUR, _ONES = np.int32(0x03030303), np.int32(0x0F0F0F0F), np.int32(0x01010101)
_groups, _group_bits = constant((0,) * 8 + (2,) * 8), constant((0,) * 8 + (1,) * 8)


@merged
def _codes(block, half):
    """The codes of 128 columns, 64 and 64: two bits of four in a byte, and bit g of a high byte for group g of 32."""
    four = join_halves(block + 32 + 32 * half, block + 32 + 32 * half) >> _groups()
    high = join_halves(block, block) >> _group_bits()
    first, second = (high >> 4 * half) & _ONES, (high >> 4 * half + 2) & _ONES
    return (four & _TWO) | first << 2, ((four >> 4) & _TWO) | second << 2


@merged
def _scales(block):
    """Sixteen scales, of six bits, and offsets."""
    first, second, high = int_at(block + 96), int_at(block + 100), int_at(block + 104)
    six = bytes_of(
        (first & _FOUR) | (high & _TWO) << 4,
        (second & _FOUR) | ((high >> 2) & _TWO) << 4,
        ((first >> 4) & _FOUR) | ((high >> 4) & _TWO) << 4,
        ((second >> 4) & _FOUR) | ((high >> 6) & _TWO) << 4,
    )
    scale = to_float(six - 32) * splat(half_at(block + 108))
    return scale, scale * np.float32(-4)


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

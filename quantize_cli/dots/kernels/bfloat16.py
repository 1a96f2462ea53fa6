"""Products of weights stored as bfloat16 with activations rounded to bfloat16, summed in float32.

As those of floats.py, but that a step is a pair of columns where the processor multiplies pairs, and else one column,
the second of two first: for the same bits, see quantize_cli/jit/simd/bfloat16.py.
"""

import numpy as np

from quantize_cli.dots.kernels.floats import HALVES, multiply_tiles
from quantize_cli.dots.kernels.tiles import TOKENS
from quantize_cli.jit.arguments import Arguments, f32_array, i32_array, number, u8_array
from quantize_cli.jit.operation import operation, row_unpacker, share
from quantize_cli.jit.simd.addresses import int_at, set_int
from quantize_cli.jit.simd.bfloat16 import bfloat16_bits, bfloat16_tile_of, has_pairs

BFLOAT16_COLUMNS = 2 if has_pairs() else 1
"""Columns of a step. Rows are of an even number of columns."""
_empty, _add, _, _store = bfloat16_tile_of(TOKENS, HALVES)
_u32 = np.uint32


@row_unpacker
def unpack_bfloat16(row, steps, values, _unused, _unused_too):
    """A row of bfloat16 -> as many steps, tiny numbers being nought; zeros up to a multiple of sixteen."""
    for step in range((steps + 15) // 16 * 16):
        lower = upper = np.uint64(0)
        if step < steps:
            word = _u32(int_at(row + step // (2 // BFLOAT16_COLUMNS) * 4))
            lower, upper = bfloat16_bits(_u32(word << _u32(16))), bfloat16_bits(word & _u32(0xFFFF0000))
        if BFLOAT16_COLUMNS == 2:
            set_int(values + 4 * step, _u32(upper | lower >> _u32(16)))
        else:
            set_int(values + 4 * step, _u32(lower if step % 2 else upper))


@operation(Arguments(bits=i32_array, tiles=i32_array))
def tiles_bfloat16(args, thread, threads):
    """Activations (n, columns) as their bits -> tiles (tiles, steps * TOKENS), the last filled up with zeros."""
    bits, tiles = args.bits, args.tiles
    start, stop = share(tiles.shape[0] * TOKENS, thread, threads)
    for row in range(start, stop):
        tile, token = row // TOKENS, row % TOKENS
        for step in range(tiles.shape[1] // TOKENS):
            packed = np.uint64(0)
            if row < bits.shape[0] and BFLOAT16_COLUMNS == 2:
                lower = bfloat16_bits(_u32(bits[row, 2 * step]))
                packed = bfloat16_bits(_u32(bits[row, 2 * step + 1])) | lower >> _u32(16)
            elif row < bits.shape[0]:
                packed = bfloat16_bits(_u32(bits[row, step ^ 1]))
            tiles[tile, step * TOKENS + token] = np.int32(packed)


@operation(Arguments(weights=u8_array, unpack=number, tiles=i32_array, out=f32_array, scratch=u8_array))
def multiply_bfloat16(args, thread, threads):
    """Many activations: as `multiply_floats`, of rows that `unpack_bfloat16` opens and of `tiles_bfloat16`."""
    multiply_tiles(args, thread, _empty, _add, _store)

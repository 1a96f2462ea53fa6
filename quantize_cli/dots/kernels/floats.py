"""Products with weights stored as floats, by float activations.

A type says how sixteen weights are loaded, `load_of(address)`, and how one is, `one_of(address)`. Sixteen rows opened
into float32 are a panel (columns, 16), and activations come in tiles (columns, TOKENS) f32; see gemm.py.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import FLOAT_ROWS, FloatDot
from quantize_cli.dots.kernels.tiles import TOKENS, add_column, copy_corner, empty_tile, store_tile, transpose
from quantize_cli.jit.arguments import Arguments, f32_array, number, u8_array
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim, claim_part, operation, row_unpacker, share, unpack_row
from quantize_cli.jit.simd import multiply_add, row_address, splat, total
from quantize_cli.jit.simd.addresses import fetch_ahead, float_at, load_floats, set_float, store_bytes

_ROWS, _PANELS = 16, 2
_NOTHING = np.float32(0)


def float_scratch_nbytes(columns: int) -> int:
    """Bytes each thread needs: sixteen rows as opened, the panels, and a tile for the last rows of a matrix."""
    return (1 + _PANELS) * _ROWS * 4 * (-(-columns // 16) * 16) + 4 * _ROWS * TOKENS


def float_dot(block: np.dtype, load_of: Any, one_of: Any) -> FloatDot:
    """The products of a type whose block is one weight, from how sixteen are loaded, and how one is."""
    nbytes = block.itemsize

    @operation(FLOAT_ROWS)
    def rows(args, thread, threads):
        _multiply_rows(args, threads, nbytes, load_of, one_of)

    @row_unpacker
    def unpack(row, columns, values, _unused, _unused_too):
        _widen(row, columns, values, nbytes, load_of, one_of)

    return FloatDot(rows, unpack)


@merged
def _multiply_rows(args, threads, nbytes, load_of, one_of):
    out, rows, columns = args.out, args.weights.shape[0], args.x.shape[1]
    start, stop = claim_part(args, rows, threads)
    while start < rows:
        for row in range(start, stop):
            weights = row_address(args.weights, row)
            for token in range(out.shape[0]):
                out[token, row] = _product(weights, row_address(args.x, token), columns, nbytes, load_of, one_of)
        start, stop = claim_part(args, rows, threads)


@merged
def _product(weights, x, columns, nbytes, load_of, one_of):
    """Four sums at once: one alone would wait for each addition."""
    a, b, c, d = splat(_NOTHING), splat(_NOTHING), splat(_NOTHING), splat(_NOTHING)
    step = 16 * nbytes
    for _ in range(columns // 64):
        fetch_ahead(weights, 4 * step)
        a = multiply_add(load_of(weights), load_floats(x), a)
        b = multiply_add(load_of(weights + step), load_floats(x + 64), b)
        c = multiply_add(load_of(weights + 2 * step), load_floats(x + 128), c)
        d = multiply_add(load_of(weights + 3 * step), load_floats(x + 192), d)
        weights += 4 * step
        x += 256
    rest = _NOTHING
    for _ in range(columns % 64):
        rest += one_of(weights) * float_at(x)
        weights += nbytes
        x += 4
    return total((a + b) + (c + d)) + rest


@merged
def _widen(row, columns, values, nbytes, load_of, one_of):
    """A row of stored floats -> float32, zeros up to a multiple of sixteen."""
    for column in range(0, columns // 16 * 16, 16):
        store_bytes(values + 4 * column, load_of(row + nbytes * column))
    for column in range(columns // 16 * 16, columns):
        set_float(values + 4 * column, one_of(row + nbytes * column))
    for column in range(columns, (columns + 15) // 16 * 16):
        set_float(values + 4 * column, _NOTHING)


@operation(Arguments(x=f32_array, tiles=f32_array))
def tiles_float(args, thread, threads):
    """Activations x (n, columns) -> tiles (tiles, columns * TOKENS), the last filled up with zeros."""
    x, tiles = args.x, args.tiles
    start, stop = share(tiles.shape[0] * TOKENS, thread, threads)
    for row in range(start, stop):
        tile, token = row // TOKENS, row % TOKENS
        for column in range(x.shape[1]):
            tiles[tile, column * TOKENS + token] = x[row, column] if row < x.shape[0] else _NOTHING


@operation(Arguments(weights=u8_array, unpack=number, tiles=f32_array, out=f32_array, scratch=u8_array))
def multiply_floats(args, thread, threads):
    """Many activations. weights (rows, row bytes); `unpack`, the address of what widens a row; tiles (tiles,
    columns * TOKENS); out (n, rows); scratch (threads, `float_scratch_nbytes`).
    """
    rows, columns, scratch = args.weights.shape[0], args.tiles.shape[1] // TOKENS, row_address(args.scratch, thread)
    row_nbytes = 4 * ((columns + 15) // 16 * 16)
    panel_nbytes = _ROWS * row_nbytes
    panels = scratch + panel_nbytes
    start = claim(args) * _PANELS * _ROWS
    while start < rows:
        stop = min(start + _PANELS * _ROWS, rows)
        for panel in range((stop - start + _ROWS - 1) // _ROWS):
            first = start + panel * _ROWS
            for row in range(min(_ROWS, stop - first)):
                weights = row_address(args.weights, first + row)
                unpack_row(args.unpack, weights, columns, scratch + row * row_nbytes, 0, 0)
            for column in range(0, row_nbytes, 64):
                transpose(scratch + column, row_nbytes, panels + panel * panel_nbytes + column * _ROWS)
        _apply(args, start, stop, columns, panels, panel_nbytes, scratch + (1 + _PANELS) * panel_nbytes)
        start = claim(args) * _PANELS * _ROWS


@merged
def _apply(args, start, stop, columns, panels, panel_nbytes, corner):
    """Unpacked panels times all activations."""
    out = args.out
    for tile in range(args.tiles.shape[0]):
        panel, count = panels, min(TOKENS, out.shape[0] - tile * TOKENS)
        for row in range(start, stop, _ROWS):
            x, sums = row_address(args.tiles, tile), empty_tile()
            for column in range(columns):
                sums = add_column(sums, x + column * 4 * TOKENS, 4, panel + column * 64)
            if row + _ROWS <= stop:
                store_tile(sums, row_address(out, tile * TOKENS) + 4 * row, 4 * out.shape[1], count)
            else:
                store_tile(sums, corner, 4 * _ROWS, count)
                copy_corner(corner, out, tile * TOKENS, count, row, stop)
            panel += panel_nbytes

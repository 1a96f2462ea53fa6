"""Products with weights stored as floats, by float activations.

A type says how sixteen weights are loaded, `load_of(address)`, and how one is, `one_of(address)`. Some rows opened
into float32 are a panel (columns, rows), and activations come in tiles (columns, TOKENS) f32; see gemm.py.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import FLOAT_ROWS, FloatDot
from quantize_cli.dots.kernels.tiles import TOKENS, transpose
from quantize_cli.jit.arguments import Arguments, f32_array, number, u8_array
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.matrices.products import LINES
from quantize_cli.jit.operation import claim, claim_part, operation, row_unpacker, share, unpack_row
from quantize_cli.jit.simd import floats, multiply_add, row_address, splat, total
from quantize_cli.jit.simd.addresses import fetch_ahead, float_at, load_floats, set_float, store_bytes
from quantize_cli.jit.simd.tile import tile_of

_ROWS, HALVES = 16, LINES
PANEL = HALVES * _ROWS
"""Rows of weights that meet a tile of activations at once: as many sums as the registers hold."""
_empty_tile, _add_column, _, _store_tile = tile_of(floats, TOKENS, HALVES)
_NOTHING = np.float32(0)


def float_scratch_nbytes(columns: int) -> int:
    """Bytes each thread needs: sixteen rows as opened, the panel, and a tile for the last rows of a matrix."""
    return (1 + HALVES) * _ROWS * 4 * (-(-columns // 16) * 16) + 4 * PANEL * TOKENS


def float_dot(block: np.dtype, load_of: Any, one_of: Any, is_bfloat16: bool = False) -> FloatDot:
    """The products of a type whose block is one weight, from how sixteen are loaded, and how one is."""
    nbytes = block.itemsize

    @operation(FLOAT_ROWS)
    def rows(args, thread, threads):
        _multiply_rows(args, threads, nbytes, load_of, one_of)

    @row_unpacker
    def unpack(row, columns, values, _unused, _unused_too):
        _widen(row, columns, values, nbytes, load_of, one_of)

    return FloatDot(rows, unpack, is_bfloat16)


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
    multiply_tiles(args, thread, _empty_tile, _add_column, _store_tile)


@merged
def multiply_tiles(args, thread, empty, add, store):
    """The same of what is added in any way, a step of four bytes of each row and of each activation."""
    rows, columns, opened = args.weights.shape[0], args.tiles.shape[1] // TOKENS, row_address(args.scratch, thread)
    row_nbytes = 4 * ((columns + 15) // 16 * 16)
    panel = opened + _ROWS * row_nbytes
    start = claim(args) * PANEL
    while start < rows:
        for half in range(HALVES):
            first = start + half * _ROWS
            for row in range(min(_ROWS, rows - first)):
                weights = row_address(args.weights, first + row)
                unpack_row(args.unpack, weights, columns, opened + row * row_nbytes, 0, 0)
            for column in range(0, row_nbytes, 64):
                transpose(opened + column, row_nbytes, panel + (column // 4 * HALVES + half) * 64, HALVES * 64)
        _apply(args, start, columns, panel, panel + PANEL * row_nbytes, empty, add, store)
        start = claim(args) * PANEL


@merged
def _apply(args, start, columns, panel, corner, empty, add, store):
    """A panel times all activations; what a whole tile would not fit into goes to `corner` first."""
    out, count = args.out, min(PANEL, args.weights.shape[0] - start)
    for tile in range(args.tiles.shape[0]):
        x, sums = row_address(args.tiles, tile), empty()
        for column in range(columns):
            sums = add(sums, x + column * 4 * TOKENS, 4, panel + column * 4 * PANEL)
        tokens = min(TOKENS, out.shape[0] - tile * TOKENS)
        if tokens == TOKENS and count == PANEL:
            store(sums, row_address(out, tile * TOKENS) + 4 * start, 4 * out.shape[1], 64)
            continue
        store(sums, corner, 4 * PANEL, 64)
        for token in range(tokens):
            for row in range(count):
                out[tile * TOKENS + token, start + row] = float_at(corner + 4 * (token * PANEL + row))

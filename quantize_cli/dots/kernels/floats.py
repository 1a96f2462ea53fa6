"""Products with weights stored as floats, by float activations.

A type says how sixteen weights are loaded, `load_of(address)`, and how one is, `one_of(address)`. Sixteen rows opened
into float32 are a panel (columns, 16), and activations come in tiles (columns, TOKENS) f32; see _gemm.py.
"""

import numpy as np

from quantize_cli.dots.kernels.lanes import fused, total_of
from quantize_cli.dots.kernels.memory import fetch_ahead, float_at, load_floats, set_float, store_bytes
from quantize_cli.dots.kernels.tiles import TOKENS, add_columns, empty_tile, store_tile, transpose
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import call_opener, claim, claim_part, f32_array, operation, share
from quantize_cli.jit.simd import splat

_ROWS, _PANELS = 16, 2
_NOTHING = np.float32(0)


def float_scratch_nbytes(columns: int) -> int:
    """Bytes each thread needs: sixteen rows as opened, the panels, and a tile for the last rows of a matrix."""
    return (1 + _PANELS) * _ROWS * 4 * (-(-columns // 16) * 16) + 4 * _ROWS * TOKENS


@merged
def multiply_rows(words, thread, threads, nbytes, load_of, one_of):
    """Few activations. Words: 1 weights u8 (rows, row bytes), `nbytes` each; 4 x f32 (n, columns); 7 out (n, rows)."""
    out, columns = f32_array(words, 7), words[6]
    rows = words[2]
    start, stop = claim_part(words, rows, threads)
    while start < rows:
        for row in range(start, stop):
            weights = words[1] + row * words[3]
            for token in range(out.shape[0]):
                out[token, row] = _product(weights, words[4] + 4 * token * columns, columns, nbytes, load_of, one_of)
        start, stop = claim_part(words, rows, threads)


@merged
def _product(weights, x, columns, nbytes, load_of, one_of):
    """Four sums at once: one alone would wait for each addition."""
    a, b, c, d = splat(_NOTHING), splat(_NOTHING), splat(_NOTHING), splat(_NOTHING)
    step = 16 * nbytes
    for _ in range(columns // 64):
        fetch_ahead(weights, 4 * step)
        a = fused(load_of(weights), load_floats(x), a)
        b = fused(load_of(weights + step), load_floats(x + 64), b)
        c = fused(load_of(weights + 2 * step), load_floats(x + 128), c)
        d = fused(load_of(weights + 3 * step), load_floats(x + 192), d)
        weights += 4 * step
        x += 256
    rest = _NOTHING
    for _ in range(columns % 64):
        rest += one_of(weights) * float_at(x)
        weights += nbytes
        x += 4
    return total_of((a + b) + (c + d)) + rest


@merged
def open_row(row, columns, values, nbytes, load_of, one_of):
    """A row of stored floats -> float32, zeros up to a multiple of sixteen."""
    for column in range(0, columns // 16 * 16, 16):
        store_bytes(values + 4 * column, load_of(row + nbytes * column))
    for column in range(columns // 16 * 16, columns):
        set_float(values + 4 * column, one_of(row + nbytes * column))
    for column in range(columns, (columns + 15) // 16 * 16):
        set_float(values + 4 * column, _NOTHING)


@operation
def tiles_float(words, thread, threads):
    """Activations x f32 (n, columns) -> tiles f32 (tiles, columns, TOKENS), the last filled up with zeros."""
    x, tiles = f32_array(words, 1), f32_array(words, 4)
    start, stop = share(tiles.shape[0] * TOKENS, thread, threads)
    for row in range(start, stop):
        tile, token = row // TOKENS, row % TOKENS
        for column in range(x.shape[1]):
            tiles[tile, column * TOKENS + token] = x[row, column] if row < x.shape[0] else _NOTHING


@operation
def multiply_floats(words, thread, threads):
    """Many activations. Words: 1 weights u8 (rows, row bytes); 4 the opener's address; 5 tiles f32; 8 out f32
    (n, rows); 11 scratch u8 (threads, `float_scratch_nbytes`).
    """
    rows, columns, scratch = words[2], words[7] // TOKENS, words[11] + thread * words[13]
    padded = (columns + 15) // 16 * 16
    panels, panel_nbytes = scratch + _ROWS * 4 * padded, _ROWS * 4 * padded
    start = claim(words) * _PANELS * _ROWS
    while start < rows:
        stop = min(start + _PANELS * _ROWS, rows)
        for panel in range((stop - start + _ROWS - 1) // _ROWS):
            first = start + panel * _ROWS
            for row in range(min(_ROWS, stop - first)):
                call_opener(words[4], words[1] + (first + row) * words[3], columns, scratch + row * 4 * padded, 0, 0)
            for column in range(0, 4 * padded, 64):
                transpose(scratch + column, 4 * padded, panels + panel * panel_nbytes + column * _ROWS)
        _apply(words, start, stop, columns, panels, panel_nbytes, scratch + (1 + _PANELS) * panel_nbytes)
        start = claim(words) * _PANELS * _ROWS


@merged
def _apply(words, start, stop, columns, panels, panel_nbytes, corner):
    """Opened panels times all activations."""
    out = f32_array(words, 8)
    for tile in range(words[6]):
        count = min(TOKENS, out.shape[0] - tile * TOKENS)
        panel = panels
        for row in range(start, stop, _ROWS):
            x = words[5] + 4 * tile * words[7]
            total = empty_tile()
            for column in range(columns):
                total = add_columns(total, load_floats(panel + column * 64), x + column * 4 * TOKENS)
            place = out.ctypes.data + 4 * (tile * TOKENS * out.shape[1] + row)
            if row + _ROWS <= stop:
                store_tile(total, place, 4 * out.shape[1], count)
            else:
                store_tile(total, corner, 4 * _ROWS, count)
                for index in range(count):
                    for lane in range(stop - row):
                        out[tile * TOKENS + index, row + lane] = float_at(corner + 4 * (index * _ROWS + lane))
            panel += panel_nbytes

"""Products of matrices: sixteen rows of weights at a time, opened once into eight-bit codes, for all activations.

Sixteen opened rows are a panel: codes (columns / 4, 16, 4) u8, so that 64 bytes hold four columns of every row, and a
scale and an offset per group of columns (groups, 16) f32. Activations come in tiles of TOKENS rows (see
_activations.py). A panel times a tile is 128 sums, which stay in registers.

Words of both operations: 1 weights u8 (rows, row bytes); 4 the opener's address; 5 codes i32
(tiles, columns / 4 * TOKENS); 8 scales f32 (tiles, columns / 32 * TOKENS); 11 sums f32 (tiles, groups * TOKENS); 14 out
f32 (n, rows); 17 scratch u8 (threads, `scratch_nbytes`).
"""

from quantize_cli.dots.kernels.memory import float_at, load_floats
from quantize_cli.dots.kernels.tiles import TOKENS, add_group, empty_tile, store_tile, transpose
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import call_opener, claim, f32_array, i32_array, operation, u8_array

PANELS = 4
"""Panels opened before they meet the activations: together they fit the second-level cache."""
_ROWS = 16


def scratch_nbytes(columns: int, group: int) -> int:
    """Bytes each thread needs: sixteen rows as opened, PANELS panels, and a tile for the last rows of a matrix."""
    padded, groups = -(-columns // 64) * 64, -(-columns // group // 16) * 16
    return (1 + PANELS) * _ROWS * (padded + 8 * groups) + 4 * _ROWS * TOKENS


_add_small, _add_large = add_group(4), add_group(8)


@operation
def multiply_groups_of_16(words, thread, threads):
    """Activations times weights whose scales are for sixteen columns each."""
    _multiply(words, thread, 16, _add_small)


@operation
def multiply_groups_of_32(words, thread, threads):
    """Activations times weights whose scales are for 32 columns each."""
    _multiply(words, thread, 32, _add_large)


@merged
def _multiply(words, thread, group, add):
    weights, scratch = u8_array(words, 1), u8_array(words, 17)
    rows, own = weights.shape[0], scratch.ctypes.data + thread * scratch.shape[1]
    columns = i32_array(words, 5).shape[1] * 4 // TOKENS
    padded, groups = (columns + 63) // 64 * 64, (columns // group + 15) // 16 * 16
    panels = own + _ROWS * (padded + 8 * groups)
    panel_nbytes = _ROWS * (padded + 8 * groups)
    step = PANELS * _ROWS
    start = claim(words) * step
    while start < rows:
        stop = min(start + step, rows)
        for panel in range(PANELS):
            first = start + panel * _ROWS
            if first < stop:
                _open(words, first, min(16, stop - first), columns, group, own, panels + panel * panel_nbytes)
        _apply(words, start, stop, group, panels, own + (1 + PANELS) * panel_nbytes, add)
        start = claim(words) * step


@merged
def _open(words, first, count, columns, group, own, panel):
    """Open rows first .. first + count and transpose them into a panel."""
    padded, groups = (columns + 63) // 64 * 64, (columns // group + 15) // 16 * 16
    scales = own + _ROWS * padded
    offsets = scales + _ROWS * 4 * groups
    for row in range(count):
        address = words[1] + (first + row) * words[3]
        call_opener(
            words[4], address, columns, own + row * padded, scales + row * 4 * groups, offsets + row * 4 * groups
        )
    for column in range(0, padded, 64):
        transpose(own + column, padded, panel + column * _ROWS)
    for at in range(0, 8 * _ROWS * groups, 4 * _ROWS * groups):
        for column in range(0, 4 * groups, 64):
            transpose(scales + at + column, 4 * groups, panel + _ROWS * padded + at + column * _ROWS)


@merged
def _apply(words, start, stop, group, panels, corner, add):
    """Opened panels times all activations."""
    codes, scales, sums, out = i32_array(words, 5), f32_array(words, 8), f32_array(words, 11), f32_array(words, 14)
    columns = codes.shape[1] * 4 // TOKENS
    padded, groups = (columns + 63) // 64 * 64, (columns // group + 15) // 16 * 16
    for tile in range(codes.shape[0]):
        count = min(TOKENS, out.shape[0] - tile * TOKENS)
        x = codes.ctypes.data + 4 * tile * codes.shape[1]
        x_scales, x_sums = scales.ctypes.data + 4 * tile * scales.shape[1], sums.ctypes.data + 4 * tile * sums.shape[1]
        panel = panels
        for row in range(start, stop, _ROWS):
            scale = panel + _ROWS * padded
            offset = scale + 4 * _ROWS * groups
            total = empty_tile()
            for index in range(columns // group):
                total = add(
                    total, panel + index * group * _ROWS, x + index * group * TOKENS,
                    load_floats(scale + index * 64), load_floats(offset + index * 64),
                    x_scales + index * group // 32 * 4 * TOKENS, x_sums + index * 4 * TOKENS,
                )  # fmt: skip
            place = out.ctypes.data + 4 * (tile * TOKENS * out.shape[1] + row)
            if row + _ROWS <= stop:
                store_tile(total, place, 4 * out.shape[1], count)
            else:
                store_tile(total, corner, 4 * _ROWS, count)
                _copy_corner(words, corner, tile * TOKENS, count, row, stop)
            panel += _ROWS * (padded + 8 * groups)


@merged
def _copy_corner(words, corner, token, count, row, stop):
    """From a tile in scratch, the rows of weights that exist."""
    out = f32_array(words, 14)
    for index in range(count):
        for lane in range(stop - row):
            out[token + index, row + lane] = float_at(corner + 4 * (index * _ROWS + lane))

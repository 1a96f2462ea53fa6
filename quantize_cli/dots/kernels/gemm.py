"""Products of matrices: sixteen rows of weights at a time, opened once into eight-bit codes, for all activations.

Sixteen opened rows are a panel: codes (columns / 4, 16, 4) u8, so that 64 bytes hold four columns of every row, and a
scale and an offset per group of columns (groups, 16) f32. Activations come in tiles of TOKENS rows (see
activations.py). A panel times a tile is 128 sums, which stay in registers.
"""

from quantize_cli.dots.kernels.tiles import TOKENS, add_group, copy_corner, empty_tile, store_tile, transpose
from quantize_cli.jit.arguments import Arguments, f32_array, i32_array, number, u8_array
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import claim, operation, unpack_row
from quantize_cli.jit.simd import row_address
from quantize_cli.jit.simd.addresses import load_floats

_ARGUMENTS = Arguments(
    weights=u8_array, unpack=number, codes=i32_array, scales=f32_array, sums=f32_array, out=f32_array, scratch=u8_array
)
"""weights (rows, row bytes); `unpack`, the address of what unpacks a row; activations in tiles: codes (tiles,
columns / 4 * TOKENS), scales (tiles, columns / 32 * TOKENS), sums (tiles, groups * TOKENS); out (n, rows); scratch
(threads, `scratch_nbytes`)."""
PANELS = 4
"""Panels opened before they meet the activations: together they fit the second-level cache."""
_ROWS = 16


def scratch_nbytes(columns: int, group: int) -> int:
    """Bytes each thread needs: sixteen rows as opened, PANELS panels, and a tile for the last rows of a matrix."""
    padded, groups = -(-columns // 64) * 64, -(-columns // group // 16) * 16
    return (1 + PANELS) * _ROWS * (padded + 8 * groups) + 4 * _ROWS * TOKENS


_add_small, _add_large = add_group(4), add_group(8)


@operation(_ARGUMENTS)
def multiply_groups_of_16(args, thread, threads):
    """Activations times weights whose scales are for sixteen columns each."""
    _multiply(args, thread, 16, _add_small)


@operation(_ARGUMENTS)
def multiply_groups_of_32(args, thread, threads):
    """Activations times weights whose scales are for 32 columns each."""
    _multiply(args, thread, 32, _add_large)


@merged
def _padded(columns, group):
    """Columns and groups of a panel."""
    return (columns + 63) // 64 * 64, (columns // group + 15) // 16 * 16


@merged
def _multiply(args, thread, group, add):
    rows, scratch = args.weights.shape[0], row_address(args.scratch, thread)
    columns = args.codes.shape[1] * 4 // TOKENS
    padded, groups = _padded(columns, group)
    panel_nbytes = _ROWS * (padded + 8 * groups)
    panels = scratch + panel_nbytes
    step = PANELS * _ROWS
    start = claim(args) * step
    while start < rows:
        stop = min(start + step, rows)
        for panel in range(PANELS):
            first = start + panel * _ROWS
            if first < stop:
                _unpack(args, first, min(16, stop - first), columns, group, scratch, panels + panel * panel_nbytes)
        _apply(args, start, stop, group, panels, scratch + (1 + PANELS) * panel_nbytes, add)
        start = claim(args) * step


@merged
def _unpack(args, first, count, columns, group, scratch, panel):
    """Unpack rows first .. first + count and transpose them into a panel."""
    padded, groups = _padded(columns, group)
    scales = scratch + _ROWS * padded
    offsets = scales + _ROWS * 4 * groups
    for row in range(count):
        weights, group_offset = row_address(args.weights, first + row), row * 4 * groups
        unpack_row(args.unpack, weights, columns, scratch + row * padded, scales + group_offset, offsets + group_offset)
    for column in range(0, padded, 64):
        transpose(scratch + column, padded, panel + column * _ROWS, 64)
    for at in range(0, 8 * _ROWS * groups, 4 * _ROWS * groups):
        for column in range(0, 4 * groups, 64):
            transpose(scales + at + column, 4 * groups, panel + _ROWS * padded + at + column * _ROWS, 64)


@merged
def _apply(args, start, stop, group, panels, corner, add):
    """Unpacked panels times all activations."""
    codes, scales, sums, out = args.codes, args.scales, args.sums, args.out
    columns = codes.shape[1] * 4 // TOKENS
    padded, groups = _padded(columns, group)
    for tile in range(codes.shape[0]):
        x, x_scales, x_sums = row_address(codes, tile), row_address(scales, tile), row_address(sums, tile)
        panel, count = panels, min(TOKENS, out.shape[0] - tile * TOKENS)
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
            if row + _ROWS <= stop:
                store_tile(total, row_address(out, tile * TOKENS) + 4 * row, 4 * out.shape[1], count)
            else:
                store_tile(total, corner, 4 * _ROWS, count)
                copy_corner(corner, out, tile * TOKENS, count, row, stop)
            panel += _ROWS * (padded + 8 * groups)

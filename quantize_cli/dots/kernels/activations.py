"""Activations as integers, rounded as llama.cpp rounds them before it multiplies (ggml-cpu.c, vec_dot_type).

Weights in blocks of 32 meet 32 codes in -127..127 with one f16 scale (quantize_row_q8_0); weights in blocks of 256 meet
256 codes with one f32 scale, the activation of largest magnitude at -127 (quantize_row_q8_K_ref). Here both have their
scale for each 32. There are two layouts.

Rows, for few activations. For blocks of 256: codes i8 (n, columns), scales f32 (n, columns / 32), and sums of sixteen
codes times their scale f32 (n, columns / 16). For blocks of 32, columns are filled up with zeros to a multiple of 128,
and four blocks are interleaved, since their weights come as first halves and second halves: of four blocks the first
sixteen codes each, then the last sixteen each; the scale of each block in four lanes, and four sums that make the sum
of its codes times its scale: scales and sums f32 (n, columns / 8).

Tiles of TOKENS rows, for many: codes i32 (tiles, columns / 4, TOKENS), four to a number, so that eight rows' next four
codes are 32 bytes; scales f32 (tiles, columns / 32, TOKENS); sums of each group of columns, times their scale, f32
(tiles, groups, TOKENS). Rows that fill the last tile have scales and sums of zero.

The largest magnitude is that of the largest bits, as whole numbers: for numbers the same, and NaN is larger than all.
So what is not finite makes a scale that is not, and is not lost among codes.
"""

import numpy as np

from quantize_cli.dots.kernels.tiles import TOKENS
from quantize_cli.jit import simd
from quantize_cli.jit.arguments import Arguments, f32_array, i8_array, i32_array, number
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.operation import operation, share
from quantize_cli.jit.simd.packed import four_bytes, sum_of

f32, i32 = np.float32, np.int32
_ROWS = Arguments(x=f32_array, codes=i8_array, scales=f32_array, sums=f32_array, halved_sums=number)
"""`halved_sums`: whether sums are rounded to halves (1) or not (0)."""
_TILES = Arguments(x=f32_array, codes=i32_array, scales=f32_array, sums=f32_array, group=number, halved_sums=number)
"""`group`: columns that share a sum, 16 or 32."""


@merged
def _scale_small(x, row, column):
    """The factor to codes, and the scale back, unrounded, of the 32 activations from `column`."""
    first, second = simd.load(x, row, column), simd.load(x, row, column + 16)
    magnitudes = simd.maximum(simd.bits(simd.absolute(first)), simd.bits(simd.absolute(second)))
    extreme = simd.float_from_bits(simd.largest(magnitudes))
    inverse = f32(127) / extreme if extreme > f32(0) else f32(0)
    return inverse, extreme / f32(127)


@merged
def _as_half(number):
    return simd.from_half(simd.to_half(number))


@merged
def _sum_small(total, scale, halved):
    """The sum of a block's codes times their scale; Q8_1 stores it as a half, from the scale before it became one."""
    return _as_half(f32(total) * scale) if halved else f32(total) * _as_half(scale)


@merged
def _scale_super(x, row, column):
    """The same of the 256 activations from `column`."""
    extreme = _extreme(x, row, column)
    inverse = f32(-127) / extreme if extreme != f32(0) else f32(0)
    return inverse, f32(1) / inverse if inverse != f32(0) else f32(0)


@merged
def _extreme(x, row, column):
    """Of the 256 activations from `column` the one of largest magnitude, the first of equals; NaN if any is."""
    peaks = simd.splat(i32(0))
    for at in range(column, column + 256, 16):
        peaks = simd.maximum(simd.bits(simd.absolute(simd.load(x, row, at))), peaks)
    peak, before_end = simd.float_from_bits(simd.largest(peaks)), simd.splat(i32(0))
    if not peak > f32(0):
        return peak
    for at in range(0, 256, 16):
        is_peak = simd.absolute(simd.load(x, row, column + 240 - at)) == peak
        before_end = simd.select(is_peak, i32(16 + at) - simd.lane_numbers(), before_end)
    return x[row, column + 256 - simd.largest(before_end)]


@operation(_ROWS)
def rows_small(args, thread, threads):
    """Activations in rows for weights in blocks of 32."""
    x, scales = args.x, args.scales
    blocks = scales.shape[1] // 4
    start, stop = share(x.shape[0] * blocks, thread, threads)
    for index in range(start, stop):
        row, block = index // blocks, index % blocks
        if block * 32 < x.shape[1]:
            _round_small(args, row, block)
        else:
            _clear_small(args, row, block)


@merged
def _round_small(args, row, block):
    x, codes, scales, sums = args.x, args.codes, args.scales, args.sums
    inverse, scale = _scale_small(x, row, block * 32)
    place = block // 4 * 128 + block % 4 * 16
    first, second = _rounded(x, row, block * 32, inverse), _rounded(x, row, block * 32 + 16, inverse)
    simd.store(codes, row, place, first)
    simd.store(codes, row, place + 64, second)
    for lane in range(4):
        scales[row, block * 4 + lane] = _as_half(scale)
        sums[row, block * 4 + lane] = f32(0)
    sums[row, block * 4] = _sum_small(sum_of(first + second), scale, args.halved_sums)


@merged
def _clear_small(args, row, block):
    codes, scales, sums = args.codes, args.scales, args.sums
    place = block // 4 * 128 + block % 4 * 16
    for i in range(16):
        codes[row, place + i] = codes[row, place + 64 + i] = 0
    for lane in range(4):
        scales[row, block * 4 + lane] = sums[row, block * 4 + lane] = f32(0)


@operation(_ROWS)
def rows_super(args, thread, threads):
    """Activations in rows for weights in blocks of 256."""
    x = args.x
    start, stop = share(x.size // 256, thread, threads)
    for block in range(start, stop):
        row, column = block * 256 // x.shape[1], block * 256 % x.shape[1]
        inverse, scale = _scale_super(x, row, column)
        for part in range(column, column + 256, 32):
            _round_row(args, row, part, inverse, scale)


@merged
def _round_row(args, row, column, inverse, scale):
    """Round the 32 activations from `column`."""
    x, codes, scales, sums = args.x, args.codes, args.scales, args.sums
    scales[row, column // 32] = scale
    for at in (column, column + 16):
        found = _rounded(x, row, at, inverse)
        simd.store(codes, row, at, found)
        sums[row, at // 16] = f32(sum_of(found)) * scale


@merged
def _rounded(x, row, column, inverse):
    return simd.minimum(simd.fitting_int(simd.round_half_even(simd.load(x, row, column) * inverse)), 127)


@operation(_TILES)
def tiles_small(args, thread, threads):
    """Activations in tiles for weights in blocks of 32."""
    x, sums = args.x, args.sums
    start, stop = share(args.scales.shape[0] * TOKENS, thread, threads)
    for row in range(start, stop):
        for column in range(0, x.shape[1], 32):
            if row < x.shape[0]:
                inverse, scale = _scale_small(x, row, column)
                total = _round_tile(args, row, column, inverse, _as_half(scale))
                sums[row // TOKENS, column // 32 * TOKENS + row % TOKENS] = _sum_small(total, scale, args.halved_sums)
            else:
                _clear_tile(args, row, column)


@operation(_TILES)
def tiles_super(args, thread, threads):
    """Activations in tiles for weights in blocks of 256."""
    x = args.x
    start, stop = share(args.scales.shape[0] * TOKENS, thread, threads)
    for row in range(start, stop):
        inverse, scale = f32(0), f32(0)
        for column in range(0, x.shape[1], 32):
            if row >= x.shape[0]:
                _clear_tile(args, row, column)
                continue
            if column % 256 == 0:
                inverse, scale = _scale_super(x, row, column)
            _round_tile(args, row, column, inverse, scale)


@merged
def _round_tile(args, row, column, inverse, scale):
    """Round the 32 activations from `column` into their tile; gives the sum of their codes."""
    x, codes, scales, sums = args.x, args.codes, args.scales, args.sums
    tile, token, group = row // TOKENS, row % TOKENS, args.group
    scales[tile, column // 32 * TOKENS + token] = scale
    whole = 0
    for at in (column, column + 16):
        found = _rounded(x, row, at, inverse)
        for quarter in range(4):
            codes[tile, (at // 4 + quarter) * TOKENS + token] = four_bytes(found, quarter)
        part = sum_of(found)
        whole += part
        if group == 16:
            sums[tile, at // 16 * TOKENS + token] = f32(part) * scale
    if group == 32:
        sums[tile, column // 32 * TOKENS + token] = f32(whole) * scale
    return whole


@merged
def _clear_tile(args, row, column):
    """Give the last tile's rows that no activations fill no weight."""
    scales, sums = args.scales, args.sums
    tile, token, group = row // TOKENS, row % TOKENS, args.group
    scales[tile, column // 32 * TOKENS + token] = f32(0)
    for at in range(column // group, (column + 32) // group):
        sums[tile, at * TOKENS + token] = f32(0)

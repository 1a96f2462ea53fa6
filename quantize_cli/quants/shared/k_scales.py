"""What Q4_K and Q5_K share: super-blocks of 256 weights in eight groups of 32, each with a 6-bit scale and minimum.

    weight = scale * scale_code * code - minimum * minimum_code

The eight pairs of 6-bit codes fill 12 bytes: bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their low six
bits; byte 8 + i holds the low nibbles of scale 4 + i and minimum 4 + i, whose high two bits stand on top of bytes i
and 4 + i (get_scale_min_k4).
"""

from functools import partial

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.search import scales
from quantize_cli.quants.search.positive import search_positive_scale

f32 = np.float32
GROUPS, GROUP, WIDTH = 8, 32, 256

CODES = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("scale_code", "u1", 8), ("minimum_code", "u1", 8), ("code", "u1", 256)]
)
_WEIGHTED_SEARCH = (f32(-0.9), f32(0.05), 36)

_SCALES, _MINIMA, _TOTALS, _INVERSES, _ORIGINS, _SCALE_CODES, _MINIMUM_CODES = range(0, 7 * GROUPS, GROUPS)
_SQUARES, _SCALE, _MINIMUM = range(7 * GROUPS, 7 * GROUPS + 3)
_FOUND_ROWS = 7 * GROUPS + 3
"""Rows of what the groups of sixteen super-blocks, one in each lane, were found to need."""


def quant_of(
    type_: GgmlType, block: np.dtype, top: int, search: tuple[np.float32, np.float32, int], codes_move: fields.Move
) -> QuantType:
    """The type whose block is the dtype `block`, with codes in 0..top.

    `search` is the (first, step, steps) of the ranges tried without importance; with it the reference has its own.
    """

    move = fields.Move(_pack_pairs, _unpack_pairs, ("scale_code", "minimum_code"), ("pairs",))
    pack, unpack = fields.mover(CODES, block, move, codes_move)
    grid = Grid(even(0, top), GROUP, (0, 63), (0, 63), sign=-1)
    return QuantType(
        type_, block, partial(_quantize, top, search), pack, unpack, fields.dequantizer(_fill_weights), grid=grid
    )


def _quantize(
    top: int, search: tuple[np.float32, np.float32, int], weights: np.ndarray, importance: np.ndarray | None
) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES."""
    weights = weights.reshape(-1, WIDTH)
    codes = np.empty(len(weights), CODES)
    if importance is None:
        _fill_codes(weights, top, *search, *fields.arrays(codes))
    else:
        _quantize_weighted(weights, importance.reshape(-1, WIDTH), top, *_WEIGHTED_SEARCH, *fields.arrays(codes))
    return codes


@kernel
def _fill_codes(weights, top, first, step, steps, scale, low, scale_code, minimum_code, code):
    """quantize_row_q4_K_ref, quantize_row_q5_K_ref: four super-blocks fill the lanes."""
    blocks = weights.shape[0]
    work = scales.wide_workspace(scales.WORK_ROWS)
    lanes = work.reshape(scales.WORK_ROWS, 4, GROUPS)
    for start in range(0, blocks, 4):
        scales.gather(work, scales.WEIGHTS, weights, blocks, start, GROUP, GROUPS)
        squares = simd.zeros_like(simd.row(work, scales.WEIGHTS))
        for i in range(GROUP):
            squares = squares + simd.row(work, scales.WEIGHTS + i) * simd.row(work, scales.WEIGHTS + i)
        average = simd.square_root(squares / f32(GROUP))
        for i in range(GROUP):
            simd.set_row(work, scales.IMPORTANCE + i, average + simd.absolute(simd.row(work, scales.WEIGHTS + i)))
        scales.search_scale_and_minimum(work, GROUP, top, first, step, steps, False)
        for part in range(min(4, blocks - start)):
            block = start + part
            largest_scale = _six_bit_codes(lanes[scales.SCALE, part], scale_code[block])
            largest_minimum = _six_bit_codes(lanes[scales.MINIMUM, part], minimum_code[block])
            scale[block] = simd.to_half(largest_scale / f32(63))
            low[block] = simd.to_half(largest_minimum / f32(63))
            ranges = lanes[scales.INVERSE, part], lanes[scales.ORIGIN, part]
            _encode(weights, block, ranges, top, scale, low, scale_code, minimum_code, code)


@inlined
def _six_bit_codes(values, six_bit_code):
    """Code eight values as 63rds of the largest; gives the largest, or 0."""
    largest = f32(0)
    for group in range(GROUPS):
        largest = values[group] if values[group] > largest else largest
    inverse = f32(63) / largest if largest > f32(0) else f32(0)
    for group in range(GROUPS):
        six_bit_code[group] = min(63, scales.nearest_int(inverse * values[group]) & 255)
    return largest


@inlined
def _encode(weights, block, ranges, top, scale, low, scale_code, minimum_code, code):
    """The codes of one super-block, from its scales as they will be stored."""
    inverse, origin = ranges
    for group in range(GROUPS):
        d = simd.from_half(scale[block]) * f32(scale_code[block, group])
        m = simd.from_half(low[block]) * f32(minimum_code[block, group])
        start = group * GROUP
        if d == f32(0):
            for i in range(start, start + GROUP):
                code[block, i] = scales.code_in_range(inverse[group], origin[group], weights[block, i], top)
        else:
            for i in range(start, start + GROUP, 16):
                found = simd.nearest((simd.load(weights, block, i) + m) / d)
                simd.store(code, block, i, simd.maximum(simd.minimum(found, top), 0))


@kernel
def _quantize_weighted(weights, importance, top, first, step, steps, scale, low, scale_code, minimum_code, code):
    """quantize_row_q4_K_impl, quantize_row_q5_K_impl.

    What sixteen super-blocks' groups need fills, once found, the lanes of a second search.
    """
    blocks = weights.shape[0]
    work, found, tall = scales.wide_workspace(scales.WORK_ROWS), scales.workspace(_FOUND_ROWS), scales.workspace(256)
    lanes = work.reshape(scales.WORK_ROWS, 4, GROUPS)
    for start in range(0, blocks, 16):
        simd.set_row(found, _SQUARES, scales.sums_of_squares(tall, weights, blocks, start))
        for lane in range(0, 16, 4):
            scales.gather(work, scales.WEIGHTS, weights, blocks, start + lane, GROUP, GROUPS)
            scales.gather(work, scales.IMPORTANCE, importance, blocks, start + lane, GROUP, GROUPS)
            for part in range(4):
                lanes[scales.CODES, part] = f32(2) * found[_SQUARES, lane + part] / f32(WIDTH)
            total = scales.weigh(work, GROUP, simd.row(work, scales.CODES))
            scales.search_scale_and_minimum(work, GROUP, top, first, step, steps, False)
            simd.set_row(work, scales.CODES, total)
            for kind, source in enumerate((scales.SCALE, scales.MINIMUM, scales.CODES, scales.INVERSE, scales.ORIGIN)):
                for part in range(4):
                    for group in range(GROUPS):
                        found[GROUPS * kind + group, lane + part] = lanes[source, part, group]
        simd.set_row(found, _SCALE, search_positive_scale(found, _SCALES, _TOTALS, _SCALE_CODES, GROUPS, 63))
        simd.set_row(found, _MINIMUM, search_positive_scale(found, _MINIMA, _TOTALS, _MINIMUM_CODES, GROUPS, 63))
        for lane in range(min(16, blocks - start)):
            block = start + lane
            scale[block], low[block] = simd.to_half(found[_SCALE, lane]), simd.to_half(found[_MINIMUM, lane])
            for group in range(GROUPS):
                scale_code[block, group] = np.uint8(found[_SCALE_CODES + group, lane])
                minimum_code[block, group] = np.uint8(found[_MINIMUM_CODES + group, lane])
            _wrap(scale_code[block])
            _wrap(minimum_code[block])
            ranges = found[_INVERSES : _INVERSES + GROUPS, lane], found[_ORIGINS : _ORIGINS + GROUPS, lane]
            _encode(weights, block, ranges, top, scale, low, scale_code, minimum_code, code)


@inlined
def _wrap(six_bit_code):
    """What the reference's packing makes of codes past six bits, which a negative scale gives it: 8-bit overlaps."""
    for i in range(4):
        high = (six_bit_code[4 + i] >> 4 & 3) | six_bit_code[i] >> 6
        six_bit_code[i] &= 63
        six_bit_code[4 + i] = (six_bit_code[4 + i] & 15) | high << 4


@kernel
def _fill_weights(scale, low, scale_code, minimum_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(GROUPS):
            d = simd.from_half(scale[block]) * f32(scale_code[block, group])
            m = simd.from_half(low[block]) * f32(minimum_code[block, group])
            for i in range(group * GROUP, (group + 1) * GROUP, 16):
                simd.store(weights, block, i, d * simd.to_float(simd.load(code, block, i)) - m)


@kernel
def _pack_pairs(scale_code, minimum_code, packed):
    """Eight scale and eight minimum codes (n, 8) u8 -> their 12 bytes (n, 12) u8."""
    for block in range(packed.shape[0]):
        for i in range(4):
            s, m = scale_code[block, 4 + i], minimum_code[block, 4 + i]
            packed[block, i] = scale_code[block, i] | (s >> 4) << 6
            packed[block, 4 + i] = minimum_code[block, i] | (m >> 4) << 6
            packed[block, 8 + i] = (s & 15) | (m & 15) << 4


@kernel
def _unpack_pairs(packed, scale_code, minimum_code):
    """The reverse of `_pack_pairs`."""
    for block in range(packed.shape[0]):
        for i in range(4):
            scale_code[block, i], minimum_code[block, i] = packed[block, i] & 63, packed[block, 4 + i] & 63
            both = packed[block, 8 + i]
            scale_code[block, 4 + i] = (both & 15) | (packed[block, i] >> 6) << 4
            minimum_code[block, 4 + i] = both >> 4 | (packed[block, 4 + i] >> 6) << 4

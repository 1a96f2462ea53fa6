"""What Q4_K and Q5_K share: super-blocks of 256 weights in eight groups of 32, each with a 6-bit scale and minimum.

    weight = scale * scale_code * code - minimum * minimum_code

The eight pairs of 6-bit codes fill 12 bytes: bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their low six
bits; byte 8 + i holds the low nibbles of scale 4 + i and minimum 4 + i, whose high two bits stand on top of bytes i
and 4 + i (get_scale_min_k4).
"""

import numpy as np

from quantize_cli.kernel import inlined, kernel
from quantize_cli.quants._positive import search_positive_scale
from quantize_cli.quants._row import sum_of_squares
from quantize_cli.quants._search import (
    IMPORTANCE,
    MINIMUM,
    SCALE,
    WEIGHTS,
    WORK_ROWS,
    gather,
    nearest_int,
    search_scale_and_minimum,
    searched_code,
    weigh,
    workspace,
)  # fmt: skip
from quantize_cli.simd import (
    absolute,
    from_half,
    load,
    maximum,
    minimum,
    nearest,
    splat,
    square_root,
    store,
    to_float,
    to_half,
)  # fmt: skip

f32 = np.float32
GROUPS, GROUP, WIDTH = 8, 32, 256

CODES = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("scale_code", "u1", 8), ("minimum_code", "u1", 8), ("code", "u1", 256)]
)
_WEIGHTED_SEARCH = (f32(-0.9), f32(0.05), 36)


def quantize(
    weights: np.ndarray, importance: np.ndarray | None, top: int, search: tuple[np.float32, np.float32, int]
) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES with codes in 0..top.

    `search` is the (first, step, steps) of the ranges tried without importance; with it the reference has its own.
    """
    weights = weights.reshape(-1, WIDTH)
    codes = np.empty(len(weights), CODES)
    fields = (
        codes["scale"].view(np.uint16),
        codes["minimum"].view(np.uint16),
        codes["scale_code"],
        codes["minimum_code"],
    )
    if importance is None:
        _quantize(weights, top, *search, *fields, codes["code"])
    else:
        _quantize_weighted(weights, importance.reshape(-1, WIDTH), top, *_WEIGHTED_SEARCH, *fields, codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    """CODES (n,) -> weights (n, 256) f32."""
    weights = np.empty((len(codes), WIDTH), np.float32)
    _dequantize(
        codes["scale"].view(np.uint16), codes["minimum"].view(np.uint16), codes["scale_code"], codes["minimum_code"],
        codes["code"], weights,
    )  # fmt: skip
    return weights


@kernel
def _quantize(weights, top, first, step, steps, scale, low, scale_code, minimum_code, code):
    """quantize_row_q4_K_ref, quantize_row_q5_K_ref: two super-blocks fill the sixteen lanes."""
    blocks = weights.shape[0]
    work = workspace(WORK_ROWS)
    for block in range(0, blocks, 2):
        gather(work, WEIGHTS, weights, blocks, block, GROUP, GROUPS)
        squares = splat(f32(0))
        for i in range(GROUP):
            squares = squares + load(work, WEIGHTS + i, 0) * load(work, WEIGHTS + i, 0)
        average = square_root(squares / f32(GROUP))
        for i in range(GROUP):
            store(work, IMPORTANCE + i, 0, average + absolute(load(work, WEIGHTS + i, 0)))
        search_scale_and_minimum(work, GROUP, top, first, step, steps, False)
        for half in range(min(2, blocks - block)):
            largest_scale = _six_bit_codes(work[SCALE], half * GROUPS, scale_code[block + half])
            largest_minimum = _six_bit_codes(work[MINIMUM], half * GROUPS, minimum_code[block + half])
            scale[block + half] = to_half(largest_scale / f32(63))
            low[block + half] = to_half(largest_minimum / f32(63))
            _encode(work, weights, block, half, top, scale, low, scale_code, minimum_code, code)


@inlined
def _six_bit_codes(values, first, six_bit_code):
    """Code eight values as 63rds of the largest; gives the largest, or 0."""
    largest = f32(0)
    for group in range(GROUPS):
        largest = values[first + group] if values[first + group] > largest else largest
    inverse = f32(63) / largest if largest > f32(0) else f32(0)
    for group in range(GROUPS):
        six_bit_code[group] = min(63, nearest_int(inverse * values[first + group]) & 255)
    return largest


@inlined
def _encode(work, weights, block, half, top, scale, low, scale_code, minimum_code, code):
    """The codes of one super-block, from its scales as they will be stored."""
    at = block + half
    for group in range(GROUPS):
        d = from_half(scale[at]) * f32(scale_code[at, group])
        m = from_half(low[at]) * f32(minimum_code[at, group])
        start = group * GROUP
        if d == f32(0):
            for i in range(GROUP):
                code[at, start + i] = searched_code(work, half * GROUPS + group, i, top)
        else:
            for i in range(start, start + GROUP, 16):
                store(code, at, i, maximum(minimum(nearest((load(weights, at, i) + m) / d), top), 0))


@kernel
def _quantize_weighted(weights, importance, top, first, step, steps, scale, low, scale_code, minimum_code, code):
    """quantize_row_q4_K_impl, quantize_row_q5_K_impl."""
    blocks = weights.shape[0]
    work = workspace(WORK_ROWS)
    total = np.empty((1, 16), np.float32)
    for block in range(0, blocks, 2):
        gather(work, WEIGHTS, weights, blocks, block, GROUP, GROUPS)
        gather(work, IMPORTANCE, importance, blocks, block, GROUP, GROUPS)
        _weigh(work, weights, block, total)
        search_scale_and_minimum(work, GROUP, top, first, step, steps, False)
        for half in range(min(2, blocks - block)):
            lanes = slice(half * GROUPS, (half + 1) * GROUPS)
            at = block + half
            scale[at] = to_half(search_positive_scale(work[SCALE, lanes], total[0, lanes], 63, scale_code[at]))
            low[at] = to_half(search_positive_scale(work[MINIMUM, lanes], total[0, lanes], 63, minimum_code[at]))
            _wrap(scale_code[at])
            _wrap(minimum_code[at])
            _encode(work, weights, block, half, top, scale, low, scale_code, minimum_code, code)


@inlined
def _wrap(six_bit_code):
    """What the reference's packing makes of codes past six bits, which a negative scale gives it: 8-bit overlaps."""
    for i in range(4):
        high = (six_bit_code[4 + i] >> 4 & 3) | six_bit_code[i] >> 6
        six_bit_code[i] &= 63
        six_bit_code[4 + i] = (six_bit_code[4 + i] & 15) | high << 4


@inlined
def _weigh(work, weights, block, total):
    """Weigh by twice the super-block's mean square; `total` (1, 16) receives each lane's sum."""
    for half in range(2):
        squares = sum_of_squares(weights, min(block + half, weights.shape[0] - 1))
        total[0, half * GROUPS : (half + 1) * GROUPS] = f32(2) * squares / f32(WIDTH)
    store(total, 0, 0, weigh(work, GROUP, load(total, 0, 0)))


@kernel
def _dequantize(scale, low, scale_code, minimum_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(GROUPS):
            d = from_half(scale[block]) * f32(scale_code[block, group])
            m = from_half(low[block]) * f32(minimum_code[block, group])
            for i in range(group * GROUP, (group + 1) * GROUP, 16):
                store(weights, block, i, d * to_float(load(code, block, i)) - m)


@kernel
def pack_pairs(scale_code, minimum_code, packed):
    """Eight scale and eight minimum codes (n, 8) u8 -> their 12 bytes (n, 12) u8."""
    for block in range(packed.shape[0]):
        for i in range(4):
            s, m = scale_code[block, 4 + i], minimum_code[block, 4 + i]
            packed[block, i] = scale_code[block, i] | (s >> 4) << 6
            packed[block, 4 + i] = minimum_code[block, i] | (m >> 4) << 6
            packed[block, 8 + i] = (s & 15) | (m & 15) << 4


@kernel
def unpack_pairs(packed, scale_code, minimum_code):
    """The reverse of `pack_pairs`."""
    for block in range(packed.shape[0]):
        for i in range(4):
            scale_code[block, i], minimum_code[block, i] = packed[block, i] & 63, packed[block, 4 + i] & 63
            both = packed[block, 8 + i]
            scale_code[block, 4 + i] = (both & 15) | (packed[block, i] >> 6) << 4
            minimum_code[block, 4 + i] = both >> 4 | (packed[block, 4 + i] >> 6) << 4

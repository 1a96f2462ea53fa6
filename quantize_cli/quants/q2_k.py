"""Q2_K: 256 weights in 84 bytes, 2.625 bits each; sixteen groups of 16 with 4-bit scales and minima.

    byte   0                16               80   82   84
           | scales, minima | quarters       | d  | m  |
    d, m: f16. Byte i of sixteen holds scale i (low nibble) and minimum i (high). Quarters: see packing/two_bits.py.

    weight = d * scale_code * code - m * minimum_code        code in 0..3

Source: block_q2_K, quantize_row_q2_K_ref, quantize_row_q2_K_impl, dequantize_row_q2_K.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.two_bits import pack_quarters, unpack_quarters
from quantize_cli.quants.search import scales
from quantize_cli.quants.search.positive import search_positive_scale

f32 = np.float32
BLOCK = np.dtype([("nibbles", "u1", 16), ("quarters", "u1", 64), ("scale", "<f2"), ("minimum", "<f2")])
CODES = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("scale_code", "u1", 16), ("minimum_code", "u1", 16), ("code", "u1", 256)]
)
_GROUPS, _GROUP, _TOP = 16, 16, 3

_SCALES, _MINIMA, _TOTALS, _INVERSES, _ORIGINS, _SCALE_CODES, _MINIMUM_CODES, _SQUARES = range(0, 128, 16)
_SOURCES = (scales.SCALE, scales.MINIMUM, scales.CODES, scales.INVERSE, scales.ORIGIN)
_FOUND_ROWS = 113
"""Rows of what sixteen super-blocks' groups were found to need, sixteen of each kind and one of mean squares."""


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 256)
    codes = np.empty(len(weights), CODES)
    if importance is None:
        _quantize(weights, *fields.arrays(codes))
    else:
        _quantize_weighted(weights, importance.reshape(-1, 256), *fields.arrays(codes))
    return codes


def _pack_scales(scale_code: np.ndarray, minimum_code: np.ndarray, nibbles: np.ndarray) -> None:
    nibbles[:] = scale_code | minimum_code << 4


def _unpack_scales(nibbles: np.ndarray, scale_code: np.ndarray, minimum_code: np.ndarray) -> None:
    scale_code[:], minimum_code[:] = nibbles & 15, nibbles >> 4


@kernel
def _quantize(weights, scale, low, scale_code, minimum_code, code):
    """Without importance: two super-blocks' groups fill the lanes; a weight costs its magnitude."""
    blocks = weights.shape[0]
    work = scales.wide_workspace(scales.WORK_ROWS)
    for first in range(0, blocks, 2):
        scales.gather(work, scales.WEIGHTS, weights, blocks, first, _GROUP, _GROUPS)
        for i in range(_GROUP):
            simd.set_row(work, scales.IMPORTANCE + i, simd.absolute(simd.row(work, scales.WEIGHTS + i)))
        scales.search_scale_and_minimum(work, _GROUP, _TOP, f32(-0.5), f32(0.1), 15, True)
        for half in range(min(2, blocks - first)):
            block = first + half
            largest_scale = _four_bit_codes(simd.load(work, scales.SCALE, 16 * half), scale_code, block)
            largest_minimum = _four_bit_codes(simd.load(work, scales.MINIMUM, 16 * half), minimum_code, block)
            scale[block] = simd.to_half(largest_scale / f32(15))
            low[block] = simd.to_half(largest_minimum / f32(15))
            ranges = work[scales.INVERSE, half], work[scales.ORIGIN, half]
            _encode(weights, block, ranges, scale, low, scale_code, minimum_code, code)


@inlined
def _four_bit_codes(values, four_bit_code, block):
    """Code sixteen values as 15ths of the largest; gives the largest, or 0."""
    largest = max(simd.highest(simd.select(values > f32(0), values, simd.splat(f32(0)))), f32(0))
    found = simd.nearest(f32(15) / largest * values)
    simd.store(four_bit_code, block, 0, found if largest > f32(0) else simd.splat(np.int32(0)))
    return largest


@kernel
def _quantize_weighted(weights, importance, scale, low, scale_code, minimum_code, code):
    """With importance, times sqrt(mean square of the super-block + weight^2).

    What sixteen super-blocks' groups need fills, once found, the lanes of a second search.
    """
    blocks = weights.shape[0]
    work, found, tall = scales.wide_workspace(scales.WORK_ROWS), scales.workspace(_FOUND_ROWS), scales.workspace(256)
    for first in range(0, blocks, 16):
        simd.set_row(found, _SQUARES, scales.sums_of_squares(tall, weights, blocks, first) / f32(256))
        for lane in range(0, 16, 2):
            scales.gather(work, scales.WEIGHTS, weights, blocks, first + lane, _GROUP, _GROUPS)
            scales.gather(work, scales.IMPORTANCE, importance, blocks, first + lane, _GROUP, _GROUPS)
            for half in range(2):
                simd.store(work, scales.CODES, 16 * half, simd.splat(found[_SQUARES, lane + half]))
            total = scales.weigh(work, _GROUP, simd.row(work, scales.CODES))
            scales.search_scale_and_minimum(work, _GROUP, _TOP, f32(-0.9), f32(0.05), 36, False)
            simd.set_row(work, scales.CODES, total)
            for half in range(2):
                for kind, source in enumerate(_SOURCES):
                    simd.store(found, 16 * kind + lane + half, 0, simd.load(work, source, 16 * half))
        for kind in (_SCALES, _MINIMA, _TOTALS):
            simd.transpose(found, kind, 0)  # from a block in each row to a block in each lane
        simd.set_row(found, _SCALES, search_positive_scale(found, _SCALES, _TOTALS, _SCALE_CODES, _GROUPS, 15))
        simd.set_row(found, _MINIMA, search_positive_scale(found, _MINIMA, _TOTALS, _MINIMUM_CODES, _GROUPS, 15))
        simd.transpose(found, _SCALE_CODES, 0)
        simd.transpose(found, _MINIMUM_CODES, 0)
        for lane in range(min(16, blocks - first)):
            block = first + lane
            scale[block], low[block] = simd.to_half(found[_SCALES, lane]), simd.to_half(found[_MINIMA, lane])
            simd.store(scale_code, block, 0, simd.fitting_int(simd.row(found, _SCALE_CODES + lane)))
            simd.store(minimum_code, block, 0, simd.fitting_int(simd.row(found, _MINIMUM_CODES + lane)))
            ranges = found[_INVERSES + lane], found[_ORIGINS + lane]
            _encode(weights, block, ranges, scale, low, scale_code, minimum_code, code)


@inlined
def _encode(weights, block, ranges, scale, low, scale_code, minimum_code, code):
    """The codes of one super-block, from its scales as they will be stored."""
    inverse, origin = ranges
    for group in range(_GROUPS):
        # a negative value has more than four bits in the reference, which lays minima over scales in one byte
        both = scale_code[block, group] | minimum_code[block, group] << 4
        scale_code[block, group], minimum_code[block, group] = both & 15, both >> 4 & 15
        d = simd.from_half(scale[block]) * f32(scale_code[block, group])
        m = simd.from_half(low[block]) * f32(minimum_code[block, group])
        start = group * _GROUP
        if d == f32(0):
            for i in range(start, start + _GROUP):
                code[block, i] = scales.code_in_range(inverse[group], origin[group], weights[block, i], _TOP)
        else:
            found = simd.nearest((simd.load(weights, block, start) + m) / d)
            simd.store(code, block, start, simd.maximum(simd.minimum(found, _TOP), 0))


@kernel
def _dequantize(scale, low, scale_code, minimum_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(_GROUPS):
            d = simd.from_half(scale[block]) * f32(scale_code[block, group])
            m = simd.from_half(low[block]) * f32(minimum_code[block, group])
            simd.store(weights, block, 16 * group, d * simd.to_float(simd.load(code, block, 16 * group)) - m)


_MOVER = fields.mover(
    CODES, BLOCK, fields.Move(_pack_scales, _unpack_scales, ("scale_code", "minimum_code"), ("nibbles",)),
    fields.Move(pack_quarters, unpack_quarters, ("code",), ("quarters",)),
)  # fmt: skip
_GRID = Grid(even(0, 3), 16, (0, 15), (0, 15), sign=-1)
QUANT = QuantType(GgmlType.Q2_K, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize), grid=_GRID)

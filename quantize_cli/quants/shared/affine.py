"""What Q4_1 and Q5_1 share: 32 weights on a line of their own, an f16 scale and an f16 minimum.

    weight = scale * code + minimum        code in 0..top

Without importance the scale is (largest - smallest) / top and the minimum the smallest weight.
"""

from functools import partial

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel, merged
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.nibbles import put_codes
from quantize_cli.quants.search import scales
from quantize_cli.quants.search.batch import AHEAD, BATCH, INVERSES, bounded_int, in_batches, put_half, store_inverse
from quantize_cli.quants.search.row import mean_square
from quantize_cli.quants.shared import blocks_of_32

f32 = np.float32
_SMALLEST = 1
"""The row of a batch's numbers that holds its blocks' smallest weights."""

CODES = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("code", "u1", 32)])


def quant_of(type_: GgmlType, block: np.dtype, top: int) -> QuantType:
    """The type whose block is the dtype `block`."""
    put = blocks_of_32.putter(block)

    @kernel
    def fill(weights, halves, fields):
        decide(weights, top, halves[0], halves[1], put, fields)

    grid = Grid(even(0, top), group=32, sign=1)
    decisions = blocks_of_32.Decisions(CODES, partial(_quantize, top), fields.dequantizer(_fill_weights), fill, grid)
    return blocks_of_32.quant_of(type_, block, decisions)


def _quantize(top: int, weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES."""
    codes = np.empty(weights.size // 32, CODES)
    blocks = weights.reshape(-1, 32)
    if importance is None:
        in_batches(partial(_quantize_plainly, top), blocks, codes)
    else:
        _quantize_weighted(blocks, importance.reshape(-1, 32), mean_square(weights), top, *fields.arrays(codes))
    return codes


def _quantize_plainly(top: int, blocks: np.ndarray, codes: np.ndarray) -> None:
    _fill_codes(blocks, top, *fields.arrays(codes))


@kernel
def _fill_codes(weights, top, scale, low, code):
    decide(weights, top, scale, low, put_codes, (code,))


@merged
def decide(weights, top, scale, low, put, fields):
    """Scales, minima and codes of weights (n, 32), n >= BATCH; `put` takes a block's codes: see packing/nibbles.py.

    quantize_row_q4_1_ref, quantize_row_q5_1_ref.
    """
    numbers, halves = np.empty((2, BATCH), np.float32), np.empty((2, BATCH), np.uint16)
    for batch in range(0, weights.shape[0], BATCH):
        start = min(batch, weights.shape[0] - BATCH)
        finite = True
        for part in range(0, BATCH, 16):
            _store_smallest(numbers, part, weights, start + part)
            bottom = simd.load(numbers, _SMALLEST, part)
            spread = simd.row_maxima(weights, start + part) - bottom
            zero = simd.splat(f32(0))
            d = simd.select(spread == zero, zero, spread / f32(top))  # of two zeros, the reference's
            simd.store_half(halves, 0, part, d)
            simd.store_half(halves, 1, part, bottom)
            finite &= store_inverse(numbers, part, d)
        if finite:
            _write(weights, start, numbers, halves, True, top, scale, low, put, fields)
        else:
            _write(weights, start, numbers, halves, False, top, scale, low, put, fields)


@merged
def _write(weights, start, numbers, halves, finite, top, scale, low, put, fields):
    for lane in range(BATCH):
        block, smallest, inverse = start + lane, numbers[_SMALLEST, lane], numbers[INVERSES, lane]
        simd.prefetch(weights, block + AHEAD)
        put_half(scale, block, halves, 0, lane)
        put_half(low, block, halves, 1, lane)
        first = (simd.load(weights, block, 0) - smallest) * inverse + f32(0.5)
        second = (simd.load(weights, block, 16) - smallest) * inverse + f32(0.5)
        put(fields, block, bounded_int(first, top, finite), bounded_int(second, top, finite))


@merged
def _store_smallest(numbers, part, weights, start):
    """numbers[_SMALLEST, part : part + 16] = the smallest weights of sixteen blocks.

    Of zeros of both signs it is the first, whose sign the minimum keeps.
    """
    found = simd.row_minima(weights, start)
    simd.store(numbers, _SMALLEST, part, found)
    zero = found == simd.splat(f32(0))
    if simd.any_lane(zero):
        for lane in range(16):
            if simd.lane_bits(zero) >> lane & 1:
                numbers[_SMALLEST, part + lane] = _first_zero(weights, start + lane)


@inlined
def _first_zero(weights, block):
    i = 0
    while weights[block, i] != f32(0):
        i += 1
    return weights[block, i]


@kernel
def _quantize_weighted(weights, importance, variance, top, scale, low, code):
    """quantize_row_q4_1_impl, quantize_row_q5_1_impl: sixteen blocks fill the sixteen lanes."""
    blocks = weights.shape[0]
    work = np.empty((scales.WORK_ROWS, 16), np.float32)
    for block in range(0, blocks, 16):
        scales.gather(work, scales.WEIGHTS, weights, blocks, block, 32, 1)
        scales.gather(work, scales.IMPORTANCE, importance, blocks, block, 32, 1)
        scales.weigh_by_row(work, variance, block, blocks, importance.shape[0])
        scales.search_scale_and_minimum(work, 32, top, f32(-0.9), f32(0.05), 36, False)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = simd.to_half(work[scales.SCALE, lane])
            low[block + lane] = simd.to_half(-work[scales.MINIMUM, lane])
            for i in range(32):
                code[block + lane, i] = scales.searched_code(work, lane, i, top)


@kernel
def _fill_weights(scale, low, code, weights):
    for block in range(code.shape[0]):
        d, m = simd.from_half(scale[block]), simd.from_half(low[block])
        simd.store(weights, block, 0, simd.to_float(simd.load(code, block, 0)) * d + m)
        simd.store(weights, block, 16, simd.to_float(simd.load(code, block, 16)) * d + m)

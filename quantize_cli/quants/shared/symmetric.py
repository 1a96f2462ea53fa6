"""What Q4_0 and Q5_0 share: 32 weights on a line through zero, one f16 scale.

    weight = scale * (code - limit)        code in 0..2*limit-1

Without importance the scale is the weight of largest magnitude / -limit.
"""

from functools import partial

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel, merged
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing.nibbles import put_codes
from quantize_cli.quants.search import scales
from quantize_cli.quants.search.batch import AHEAD, BATCH, INVERSES, bounded_int, in_batches, put_half, store_inverse
from quantize_cli.quants.search.row import mean_square
from quantize_cli.quants.shared import blocks_of_32

f32 = np.float32
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 32)])


def quant_of(type_: GgmlType, block: np.dtype, limit: int) -> QuantType:
    """The type whose block is the dtype `block`."""
    put = blocks_of_32.putter(block)

    @kernel
    def fill(weights, halves, fields):
        decide(weights, limit, halves[0], put, fields)

    grid = Grid(even(-limit, limit - 1), group=32)
    decisions = blocks_of_32.Decisions(CODES, partial(_quantize, limit), partial(_dequantize, limit), fill, grid)
    return blocks_of_32.quant_of(type_, block, decisions)


def _quantize(limit: int, weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES."""
    codes = np.empty(weights.size // 32, CODES)
    blocks = weights.reshape(-1, 32)
    if importance is None:
        in_batches(partial(_quantize_plainly, limit), blocks, codes)
    else:
        fields = (codes["scale"].view(np.uint16), codes["code"])
        _quantize_weighted(blocks, importance.reshape(-1, 32), mean_square(weights), limit, *fields)
    return codes


def _quantize_plainly(limit: int, blocks: np.ndarray, codes: np.ndarray) -> None:
    _fill_codes(blocks, limit, codes["scale"].view(np.uint16), codes["code"])


def _dequantize(limit: int, codes: np.ndarray) -> np.ndarray:
    """CODES (n,) -> weights (n, 32) f32."""
    weights = np.empty((len(codes), 32), np.float32)
    _fill_weights(codes["scale"].view(np.uint16), codes["code"], limit, weights)
    return weights


@kernel
def _fill_codes(weights, limit, scale, code):
    decide(weights, limit, scale, put_codes, (code,))


@merged
def decide(weights, limit, scale, put, fields):
    """Scales and codes of weights (n, 32), n >= BATCH; `put` takes the codes of one block: see packing/nibbles.py.

    quantize_row_q4_0_ref, quantize_row_q5_0_ref.
    """
    numbers, halves = np.empty((1, BATCH), np.float32), np.empty((1, BATCH), np.uint16)
    for batch in range(0, weights.shape[0], BATCH):
        start = min(batch, weights.shape[0] - BATCH)
        finite = True
        for part in range(0, BATCH, 16):
            d = _extremes(weights, start + part, numbers, part) / f32(-limit)
            simd.store_half(halves, 0, part, d)
            finite &= store_inverse(numbers, part, d)
        if finite:
            _write(weights, start, numbers, halves, True, limit, scale, put, fields)
        else:
            _write(weights, start, numbers, halves, False, limit, scale, put, fields)


@merged
def _write(weights, start, numbers, halves, finite, limit, scale, put, fields):
    top, half_up = 2 * limit - 1, f32(limit) + f32(0.5)
    for lane in range(BATCH):
        block, inverse = start + lane, numbers[INVERSES, lane]
        simd.prefetch(weights, block + AHEAD)
        put_half(scale, block, halves, 0, lane)
        first = simd.load(weights, block, 0) * inverse + half_up
        second = simd.load(weights, block, 16) * inverse + half_up
        put(fields, block, bounded_int(first, top, finite), bounded_int(second, top, finite))


@merged
def _extremes(weights, start, work, part):
    """The weights of largest magnitude of sixteen blocks, of several the first. May overwrite sixteen of `work`."""
    high, low = simd.row_maxima(weights, start), simd.row_minima(weights, start)
    opposite = simd.splat(f32(0)) - low
    extreme = simd.select(high > opposite, high, low) + f32(0)  # which makes all zeros one
    tied = (high == opposite) & (high > f32(0))
    if not simd.any_lane(tied):
        return extreme
    simd.store(work, 0, part, extreme)
    for lane in range(16):
        if simd.lane_bits(tied) >> lane & 1:
            work[0, part + lane] = _first_of_opposites(weights, start + lane, abs(work[0, part + lane]))
    return simd.load(work, 0, part)


@inlined
def _first_of_opposites(weights, block, magnitude):
    """Whichever of +magnitude and -magnitude stands first in a block that has both."""
    above, below = _where(weights, block, magnitude), _where(weights, block, -magnitude)
    return magnitude if above & -above < below & -below else -magnitude


@inlined
def _where(weights, block, number):
    """An integer whose bit i says whether weight i of a block is this number."""
    first = simd.load(weights, block, 0) == simd.splat(number)
    second = simd.load(weights, block, 16) == simd.splat(number)
    return np.int64(simd.lane_bits(first)) | np.int64(simd.lane_bits(second)) << 16


@kernel
def _quantize_weighted(weights, importance, variance, limit, scale, code):
    """quantize_row_q4_0_impl, quantize_row_q5_0_impl: sixteen blocks fill the sixteen lanes."""
    blocks = weights.shape[0]
    work = np.empty((scales.WORK_ROWS, 16), np.float32)
    for block in range(0, blocks, 16):
        scales.gather(work, scales.WEIGHTS, weights, blocks, block, 32, 1)
        scales.gather(work, scales.IMPORTANCE, importance, blocks, block, 32, 1)
        scales.weigh_by_row(work, variance, block, blocks, importance.shape[0])
        scales.search_scale(work, 32, limit)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = simd.to_half(work[scales.SCALE, lane])
            for i in range(32):
                found = scales.nearest_int(work[scales.INVERSE, lane] * work[scales.WEIGHTS + i, lane])
                silent = work[scales.INVERSE, lane] == f32(0)  # the search leaves such a group's codes at zero
                code[block + lane, i] = 0 if silent else max(-limit, min(limit - 1, found)) + limit


@kernel
def _fill_weights(scale, code, limit, weights):
    for block in range(code.shape[0]):
        d = simd.from_half(scale[block])
        simd.store(weights, block, 0, simd.to_float(simd.load(code, block, 0) - limit) * d)
        simd.store(weights, block, 16, simd.to_float(simd.load(code, block, 16) - limit) * d)

"""What Q4_0 and Q5_0 share: 32 weights on a line through zero, one f16 scale.

    weight = scale * (code - limit)        code in 0..2*limit-1

Without importance the scale is the weight of largest magnitude / -limit.
"""

import numpy as np

from quantize_cli.kernel import inlined, kernel
from quantize_cli.quants._row import mean_square
from quantize_cli.quants._search import (
    IMPORTANCE,
    INVERSE,
    SCALE,
    WEIGHTS,
    WORK_ROWS,
    gather,
    nearest_int,
    search_scale,
    weigh_by_row,
)  # fmt: skip
from quantize_cli.simd import (
    absolute,
    any_lane,
    bits,
    fitting_int,
    float_from_bits,
    from_half,
    largest,
    load,
    maximum,
    minimum,
    splat,
    store,
    to_float,
    to_half,
    to_int,
)  # fmt: skip

f32 = np.float32
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None, limit: int) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES."""
    codes = np.empty(weights.size // 32, CODES)
    blocks, scale = weights.reshape(-1, 32), codes["scale"].view(np.uint16)
    if importance is None:
        _quantize(blocks, limit, scale, codes["code"])
    else:
        _quantize_weighted(blocks, importance.reshape(-1, 32), mean_square(weights), limit, scale, codes["code"])
    return codes


def dequantize(codes: np.ndarray, limit: int) -> np.ndarray:
    """CODES (n,) -> weights (n, 32) f32."""
    weights = np.empty((len(codes), 32), np.float32)
    _dequantize(codes["scale"].view(np.uint16), codes["code"], limit, weights)
    return weights


@kernel
def _quantize(weights, limit, scale, code):
    """quantize_row_q4_0_ref, quantize_row_q5_0_ref."""
    top, half_up = 2 * limit - 1, f32(limit) + f32(0.5)
    for block in range(weights.shape[0]):
        first, second = load(weights, block, 0), load(weights, block, 16)
        d = _extreme(weights, block, first, second) / f32(-limit)
        inverse = f32(1) / d if d != f32(0) else f32(0)
        scale[block] = to_half(d)
        if abs(inverse) < f32(np.inf):
            store(code, block, 0, minimum(fitting_int(first * inverse + half_up), top))
            store(code, block, 16, minimum(fitting_int(second * inverse + half_up), top))
        else:  # d is denormal: infinities, and NaN from zeros; the reference keeps their lowest byte
            store(code, block, 0, minimum(to_int(first * inverse + half_up) & 255, top))
            store(code, block, 16, minimum(to_int(second * inverse + half_up) & 255, top))


@inlined
def _extreme(weights, block, first, second):
    """The weight of largest magnitude, the first of several."""
    magnitude = float_from_bits(largest(bits(maximum(absolute(first), absolute(second)))))
    if magnitude == f32(0):
        return f32(0)  # whatever the signs of the zeros
    above = any_lane((first == splat(magnitude)) | (second == splat(magnitude)))
    below = any_lane((first == splat(-magnitude)) | (second == splat(-magnitude)))
    if above and below:
        for i in range(32):
            if abs(weights[block, i]) == magnitude:
                return weights[block, i]
    return magnitude if above else -magnitude


@kernel
def _quantize_weighted(weights, importance, variance, limit, scale, code):
    """quantize_row_q4_0_impl, quantize_row_q5_0_impl: sixteen blocks fill the sixteen lanes."""
    blocks = weights.shape[0]
    work = np.empty((WORK_ROWS, 16), np.float32)
    for block in range(0, blocks, 16):
        gather(work, WEIGHTS, weights, blocks, block, 32, 1)
        gather(work, IMPORTANCE, importance, blocks, block, 32, 1)
        weigh_by_row(work, variance, block, blocks, importance.shape[0])
        search_scale(work, 32, limit)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = to_half(work[SCALE, lane])
            for i in range(32):
                found = nearest_int(work[INVERSE, lane] * work[WEIGHTS + i, lane])
                silent = work[INVERSE, lane] == f32(0)  # the search leaves such a group's codes at zero
                code[block + lane, i] = 0 if silent else max(-limit, min(limit - 1, found)) + limit


@kernel
def _dequantize(scale, code, limit, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        store(weights, block, 0, to_float(load(code, block, 0) - limit) * d)
        store(weights, block, 16, to_float(load(code, block, 16) - limit) * d)

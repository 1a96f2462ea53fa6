"""What Q4_1 and Q5_1 share: 32 weights on a line of their own, an f16 scale and an f16 minimum.

    weight = scale * code + minimum        code in 0..top

Without importance the scale is (largest - smallest) / top and the minimum the smallest weight.
"""

import numpy as np

from quantize_cli.kernel import inlined, kernel
from quantize_cli.quants._row import mean_square
from quantize_cli.quants._search import (
    IMPORTANCE,
    MINIMUM,
    SCALE,
    WEIGHTS,
    WORK_ROWS,
    gather,
    search_scale_and_minimum,
    searched_code,
    weigh_by_row,
)  # fmt: skip
from quantize_cli.simd import (
    fitting_int,
    from_half,
    highest,
    load,
    lowest,
    maximum,
    minimum,
    store,
    to_float,
    to_half,
    to_int,
)  # fmt: skip

f32 = np.float32
CODES = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("code", "u1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None, top: int) -> np.ndarray:
    """Weights (rows, columns) f32, importance (columns,) or None -> CODES."""
    codes = np.empty(weights.size // 32, CODES)
    blocks = weights.reshape(-1, 32)
    fields = (codes["scale"].view(np.uint16), codes["minimum"].view(np.uint16), codes["code"])
    if importance is None:
        _quantize(blocks, top, *fields)
    else:
        _quantize_weighted(blocks, importance.reshape(-1, 32), mean_square(weights), top, *fields)
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    """CODES (n,) -> weights (n, 32) f32."""
    weights = np.empty((len(codes), 32), np.float32)
    _dequantize(codes["scale"].view(np.uint16), codes["minimum"].view(np.uint16), codes["code"], weights)
    return weights


@kernel
def _quantize(weights, top, scale, low, code):
    """quantize_row_q4_1_ref, quantize_row_q5_1_ref."""
    for block in range(weights.shape[0]):
        first, second = load(weights, block, 0), load(weights, block, 16)
        smallest = _smallest(weights, block, lowest(minimum(first, second)))
        spread = highest(maximum(first, second)) - smallest
        d = spread / f32(top) if spread != f32(0) else f32(0)  # of two zeros the reference keeps the first
        inverse = f32(1) / d if d != f32(0) else f32(0)
        scale[block], low[block] = to_half(d), to_half(smallest)
        if inverse < f32(np.inf):
            store(code, block, 0, minimum(fitting_int((first - smallest) * inverse + f32(0.5)), top))
            store(code, block, 16, minimum(fitting_int((second - smallest) * inverse + f32(0.5)), top))
        else:  # d is denormal: infinities, and NaN from zeros; the reference keeps their lowest byte
            store(code, block, 0, minimum(to_int((first - smallest) * inverse + f32(0.5)) & 255, top))
            store(code, block, 16, minimum(to_int((second - smallest) * inverse + f32(0.5)) & 255, top))


@inlined
def _smallest(weights, block, found):
    """The smallest weight; of zeros of both signs the first, whose sign the minimum keeps."""
    if found == f32(0):
        for i in range(32):
            if weights[block, i] == f32(0):
                return weights[block, i]
    return found


@kernel
def _quantize_weighted(weights, importance, variance, top, scale, low, code):
    """quantize_row_q4_1_impl, quantize_row_q5_1_impl: sixteen blocks fill the sixteen lanes."""
    blocks = weights.shape[0]
    work = np.empty((WORK_ROWS, 16), np.float32)
    for block in range(0, blocks, 16):
        gather(work, WEIGHTS, weights, blocks, block, 32, 1)
        gather(work, IMPORTANCE, importance, blocks, block, 32, 1)
        weigh_by_row(work, variance, block, blocks, importance.shape[0])
        search_scale_and_minimum(work, 32, top, f32(-0.9), f32(0.05), 36, False)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = to_half(work[SCALE, lane])
            low[block + lane] = to_half(-work[MINIMUM, lane])
            for i in range(32):
                code[block + lane, i] = searched_code(work, lane, i, top)


@kernel
def _dequantize(scale, low, code, weights):
    for block in range(code.shape[0]):
        d, m = from_half(scale[block]), from_half(low[block])
        store(weights, block, 0, to_float(load(code, block, 0)) * d + m)
        store(weights, block, 16, to_float(load(code, block, 16)) * d + m)

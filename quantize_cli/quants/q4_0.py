"""Q4_0: 32 weights in 18 bytes, 4.5 bits each.

    byte   0    2                 18
           | d  | 16 x nibbles    |
    d: f16. Nibble byte i holds code i low and code 16 + i high.

    weight = d * (code - 8)        code in 0..15; d = the weight of largest magnitude / -8

Source: block_q4_0, quantize_row_q4_0_ref, quantize_row_q4_0_impl, dequantize_row_q4_0.
"""

import numpy as np

from formats.ggml import GgmlType
from quantize_cli.kernel import inlined, kernel
from quantize_cli.quants._search import (
    IMPORTANCE, INVERSE, SCALE, WEIGHTS, WORK_ROWS, gather, nearest_int, search_scale,
)  # fmt: skip
from quantize_cli.quants._type import QuantType
from quantize_cli.simd import (
    absolute, any_lane, bits, float_from_bits, from_half, largest, load, maximum, minimum, splat, square_root, store,
    to_float, to_half, to_int,
)  # fmt: skip

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 32, CODES)
    fields = (codes["scale"].view(np.uint16), codes["code"])
    if importance is None:
        _quantize(weights.reshape(-1, 32), *fields)
    else:
        mean_square = _mean_square(weights)
        _quantize_weighted(weights.reshape(-1, 32), importance.reshape(-1, 32), mean_square, *fields)
    return codes


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"] = codes["scale"]
    _pack_nibbles(codes["code"], blocks["nibbles"])
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"] = blocks["scale"]
    _unpack_nibbles(blocks["nibbles"], codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    weights = np.empty((len(codes), 32), np.float32)
    _dequantize(codes["scale"].view(np.uint16), codes["code"], weights)
    return weights


@kernel
def _quantize(weights, scale, code):
    for block in range(weights.shape[0]):
        first, second = load(weights, block, 0), load(weights, block, 16)
        d = _extreme(weights, block, first, second) / f32(-8)
        inverse = f32(1) / d if d != f32(0) else f32(0)
        scale[block] = to_half(d)
        # the reference truncates to a signed byte before it takes the minimum
        store(code, block, 0, minimum(to_int(first * inverse + f32(8.5)) & 255, 15))
        store(code, block, 16, minimum(to_int(second * inverse + f32(8.5)) & 255, 15))


@inlined
def _extreme(weights, block, first, second):
    """The weight of largest magnitude, the first of several."""
    magnitude = float_from_bits(largest(bits(maximum(absolute(first), absolute(second)))))
    above = any_lane((first == splat(magnitude)) | (second == splat(magnitude)))
    below = any_lane((first == splat(-magnitude)) | (second == splat(-magnitude)))
    if above and below:
        for i in range(32):
            if abs(weights[block, i]) == magnitude:
                return weights[block, i]
    return magnitude if above else -magnitude


@kernel
def _mean_square_rows(weights, mean_square):
    """Mean of squares of each row, summed in the reference's order."""
    for row in range(weights.shape[0]):
        squares = f32(0)
        for w in weights[row]:
            squares += w * w
        mean_square[row] = squares / f32(weights.shape[1])


def _mean_square(weights: np.ndarray) -> np.ndarray:
    mean_square = np.empty(len(weights), np.float32)
    _mean_square_rows(weights, mean_square)
    return mean_square


@kernel
def _quantize_weighted(weights, importance, mean_square, scale, code):
    """Sixteen blocks fill the sixteen lanes."""
    blocks, per_row = weights.shape[0], importance.shape[0]
    work = np.empty((WORK_ROWS, 16), np.float32)
    variance = np.empty((1, 16), np.float32)
    for block in range(0, blocks, 16):
        gather(work, WEIGHTS, weights, blocks, block, 32, 1)
        gather(work, IMPORTANCE, importance, blocks, block, 32, 1)
        for lane in range(16):
            variance[0, lane] = mean_square[min(block + lane, blocks - 1) // per_row]
        sigma = load(variance, 0, 0)
        for i in range(32):
            w = load(work, WEIGHTS + i, 0)
            store(work, IMPORTANCE + i, 0, load(work, IMPORTANCE + i, 0) * square_root(sigma + w * w))
        search_scale(work, 32, 8)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = to_half(work[SCALE, lane])
            for i in range(32):
                found = nearest_int(work[INVERSE, lane] * work[WEIGHTS + i, lane])
                silent = work[INVERSE, lane] == f32(0)  # the search leaves such a group's codes at zero
                code[block + lane, i] = 0 if silent else max(-8, min(7, found)) + 8


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        store(weights, block, 0, to_float(load(code, block, 0) - 8) * d)
        store(weights, block, 16, to_float(load(code, block, 16) - 8) * d)


@kernel
def _pack_nibbles(code, nibbles):
    for block in range(code.shape[0]):
        store(nibbles, block, 0, load(code, block, 0) | load(code, block, 16) << 4)


@kernel
def _unpack_nibbles(nibbles, code):
    for block in range(code.shape[0]):
        both = load(nibbles, block, 0)
        store(code, block, 0, both & 15)
        store(code, block, 16, both >> 4)


QUANT = QuantType(GgmlType.Q4_0, BLOCK, quantize, pack, unpack, dequantize)

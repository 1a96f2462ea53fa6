"""Q2_K: 256 weights in 84 bytes, 2.625 bits each; sixteen groups of 16 with 4-bit scales and minima.

    byte   0                16               80   82   84
           | scales, minima | quarters       | d  | m  |
    d, m: f16. Byte i of sixteen holds scale i (low nibble) and minimum i (high). Quarters: see _quarters.py.

    weight = d * scale_code * code - m * minimum_code        code in 0..3

Source: block_q2_K, quantize_row_q2_K_ref, quantize_row_q2_K_impl, dequantize_row_q2_K.
"""

import numpy as np

from formats.ggml import GgmlType
from quantize_cli.kernel import inlined, kernel
from quantize_cli.quants._positive import search_positive_scale
from quantize_cli.quants._quarters import pack_quarters, unpack_quarters
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
)
from quantize_cli.quants._type import QuantType
from quantize_cli.simd import (
    absolute,
    from_half,
    load,
    maximum,
    minimum,
    nearest,
    splat,
    store,
    to_float,
    to_half,
)

f32 = np.float32
BLOCK = np.dtype([("nibbles", "u1", 16), ("quarters", "u1", 64), ("scale", "<f2"), ("minimum", "<f2")])
CODES = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("scale_code", "u1", 16), ("minimum_code", "u1", 16), ("code", "u1", 256)]
)
_GROUPS, _GROUP, _TOP = 16, 16, 3


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 256)
    codes = np.empty(len(weights), CODES)
    if importance is None:
        _quantize(weights, *_fields(codes))
    else:
        _quantize_weighted(weights, importance.reshape(-1, 256), *_fields(codes))
    return codes


def _fields(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    halves = (codes["scale"].view(np.uint16), codes["minimum"].view(np.uint16))
    return (*halves, codes["scale_code"], codes["minimum_code"], codes["code"])


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["minimum"] = codes["scale"], codes["minimum"]
    blocks["nibbles"] = codes["scale_code"] | codes["minimum_code"] << 4
    pack_quarters(codes["code"], blocks["quarters"])
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"], codes["minimum"] = blocks["scale"], blocks["minimum"]
    codes["scale_code"], codes["minimum_code"] = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    unpack_quarters(blocks["quarters"], codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    weights = np.empty((len(codes), 256), np.float32)
    _dequantize(*_fields(codes), weights)
    return weights


@kernel
def _quantize(weights, scale, low, scale_code, minimum_code, code):
    """Without importance: one super-block's groups fill the sixteen lanes; a weight costs its magnitude."""
    blocks = weights.shape[0]
    work = workspace(WORK_ROWS)
    for block in range(blocks):
        gather(work, WEIGHTS, weights, blocks, block, _GROUP, _GROUPS)
        for i in range(_GROUP):
            store(work, IMPORTANCE + i, 0, absolute(load(work, WEIGHTS + i, 0)))
        search_scale_and_minimum(work, _GROUP, _TOP, f32(-0.5), f32(0.1), 15, True)
        scale[block] = to_half(_four_bit_codes(work[SCALE], scale_code[block]) / f32(15))
        low[block] = to_half(_four_bit_codes(work[MINIMUM], minimum_code[block]) / f32(15))
        _encode(work, weights, block, scale, low, scale_code, minimum_code, code)


@inlined
def _four_bit_codes(values, four_bit_code):
    """Code sixteen values as 15ths of the largest; gives the largest, or 0."""
    largest = f32(0)
    for group in range(_GROUPS):
        largest = values[group] if values[group] > largest else largest
    inverse = f32(15) / largest
    for group in range(_GROUPS):
        four_bit_code[group] = nearest_int(inverse * values[group]) if largest > f32(0) else 0
    return largest


@kernel
def _quantize_weighted(weights, importance, scale, low, scale_code, minimum_code, code):
    """With importance, times sqrt(mean square of the super-block + weight^2)."""
    blocks = weights.shape[0]
    work = workspace(WORK_ROWS)
    total = np.empty((1, 16), np.float32)
    for block in range(blocks):
        gather(work, WEIGHTS, weights, blocks, block, _GROUP, _GROUPS)
        gather(work, IMPORTANCE, importance, blocks, block, _GROUP, _GROUPS)
        store(total, 0, 0, weigh(work, _GROUP, splat(sum_of_squares(weights, block) / f32(256))))
        search_scale_and_minimum(work, _GROUP, _TOP, f32(-0.9), f32(0.05), 36, False)
        scale[block] = to_half(search_positive_scale(work[SCALE], total[0], 15, scale_code[block]))
        low[block] = to_half(search_positive_scale(work[MINIMUM], total[0], 15, minimum_code[block]))
        _encode(work, weights, block, scale, low, scale_code, minimum_code, code)


@inlined
def _encode(work, weights, block, scale, low, scale_code, minimum_code, code):
    """The codes of one super-block, from its scales as they will be stored."""
    for group in range(_GROUPS):
        # a negative value has more than four bits in the reference, which lays minima over scales in one byte
        both = scale_code[block, group] | minimum_code[block, group] << 4
        scale_code[block, group], minimum_code[block, group] = both & 15, both >> 4 & 15
        d = from_half(scale[block]) * f32(scale_code[block, group])
        m = from_half(low[block]) * f32(minimum_code[block, group])
        start = group * _GROUP
        if d == f32(0):
            for i in range(_GROUP):
                code[block, start + i] = searched_code(work, group, i, _TOP)
        else:
            store(code, block, start, maximum(minimum(nearest((load(weights, block, start) + m) / d), _TOP), 0))


@kernel
def _dequantize(scale, low, scale_code, minimum_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(_GROUPS):
            d = from_half(scale[block]) * f32(scale_code[block, group])
            m = from_half(low[block]) * f32(minimum_code[block, group])
            store(weights, block, 16 * group, d * to_float(load(code, block, 16 * group)) - m)


QUANT = QuantType(GgmlType.Q2_K, BLOCK, quantize, pack, unpack, dequantize)

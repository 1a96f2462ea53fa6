"""Q6_K: 256 weights in 210 bytes, 6.5625 bits each; sixteen groups of 16 with 8-bit scales.

    byte   0                       128           192        208  210
           |  low nibbles           | high pairs  | scales   | d  |
    d: f16. scales: 16 x i8. For each half h = 0, 1 of 128 codes and l = 0..31: nibble byte 64 * h + l holds the low
    four bits of codes 128 * h + l (low) and + 64 (high), byte 64 * h + 32 + l those of + 32 and + 96; pair byte
    32 * h + l holds the high two bits of codes + 0, + 32, + 64, + 96, from low to high.

    weight = d * scale_code * (code - 32)        code in 0..63

Source: block_q6_K, quantize_row_q6_K_ref, quantize_row_q6_K_impl, dequantize_row_q6_K.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.search import scales

f32 = np.float32
BLOCK = np.dtype([("low", "u1", 128), ("high", "u1", 64), ("scale_code", "i1", 16), ("scale", "<f2")])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "i1", 16), ("code", "u1", 256)])
_GROUPS, _GROUP = 16, 16


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 256)
    codes = np.empty(len(weights), CODES)
    costs = weights if importance is None else importance.reshape(-1, 256)
    _quantize(weights, costs, importance is None, *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, importance, squared, scale, scale_code, code):
    """Two super-blocks' groups fill the lanes; `squared` says that a weight's importance is its square."""
    blocks = weights.shape[0]
    work = scales.wide_workspace(scales.WORK_ROWS)
    for first in range(0, blocks, 2):
        scales.gather(work, scales.WEIGHTS, weights, blocks, first, _GROUP, _GROUPS)
        if squared:
            scales.weigh_by_squares(work, _GROUP)
        else:
            scales.gather(work, scales.IMPORTANCE, importance, blocks, first, _GROUP, _GROUPS)
        scales.search_scale(work, _GROUP, 32)
        for half in range(min(2, blocks - first)):
            block = first + half
            group_scales = simd.load(work, scales.SCALE, 16 * half)
            extreme = _extreme(group_scales, work[scales.SCALE, half])
            inverse = f32(-128) / extreme
            if abs(extreme) < scales.SMALLEST:
                scale[block] = 0
                for i in range(0, 256, 16):
                    simd.store(code, block, i, simd.splat(np.int32(0)))
                scale_code[block] = 0
            else:
                scale[block] = simd.to_half(f32(1) / inverse)
                simd.store(scale_code, block, 0, simd.minimum(simd.nearest(inverse * group_scales), 127))
                _encode(weights, block, work[scales.INVERSE, half], scale, scale_code, code)


@inlined
def _extreme(group_scales, separate):
    """The scale of largest magnitude, the first of several; NaN is never larger."""
    magnitude = simd.absolute(group_scales)
    largest = simd.highest(simd.select(magnitude > f32(0), magnitude, simd.splat(f32(0))))
    if largest == f32(0):
        return f32(0)
    for lane in range(16):
        if abs(separate[lane]) == largest:
            return separate[lane]
    return f32(0)


@inlined
def _encode(weights, block, inverse, scale, scale_code, code):
    """The codes of one super-block, from its scales as they will be stored."""
    for group in range(_GROUPS):
        d = simd.from_half(scale[block]) * f32(scale_code[block, group])
        start = group * _GROUP
        if d == f32(0):
            for i in range(start, start + _GROUP):
                found = max(-32, min(31, scales.nearest_int(inverse[group] * weights[block, i]))) + 32
                code[block, i] = 0 if inverse[group] == f32(0) else found  # the search left such codes at zero
        else:
            found = simd.nearest(simd.load(weights, block, start) / d)
            simd.store(code, block, start, simd.maximum(simd.minimum(found, 31), -32) + 32)


@kernel
def _dequantize(scale, scale_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(_GROUPS):
            d = simd.from_half(scale[block]) * f32(scale_code[block, group])
            simd.store(weights, block, 16 * group, d * simd.to_float(simd.load(code, block, 16 * group) - 32))


@kernel
def _pack_codes(code, low, high):
    for block in range(code.shape[0]):
        for start in range(2):
            for i in range(0, 32, 16):
                a, b = simd.load(code, block, 128 * start + i), simd.load(code, block, 128 * start + 32 + i)
                c, d = simd.load(code, block, 128 * start + 64 + i), simd.load(code, block, 128 * start + 96 + i)
                simd.store(low, block, 64 * start + i, (a & 15) | (c & 15) << 4)
                simd.store(low, block, 64 * start + 32 + i, (b & 15) | (d & 15) << 4)
                simd.store(high, block, 32 * start + i, a >> 4 | (b >> 4) << 2 | (c >> 4) << 4 | (d >> 4) << 6)


@kernel
def _unpack_codes(low, high, code):
    for block in range(code.shape[0]):
        for start in range(2):
            for i in range(0, 32, 16):
                ac, bd = simd.load(low, block, 64 * start + i), simd.load(low, block, 64 * start + 32 + i)
                pairs = simd.load(high, block, 32 * start + i)
                simd.store(code, block, 128 * start + i, (ac & 15) | (pairs & 3) << 4)
                simd.store(code, block, 128 * start + 32 + i, (bd & 15) | (pairs >> 2 & 3) << 4)
                simd.store(code, block, 128 * start + 64 + i, ac >> 4 | (pairs >> 4 & 3) << 4)
                simd.store(code, block, 128 * start + 96 + i, bd >> 4 | (pairs >> 6) << 4)


_MOVER = fields.mover(CODES, BLOCK, fields.Move(_pack_codes, _unpack_codes, ("code",), ("low", "high")))
QUANT = QuantType(
    GgmlType.Q6_K, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize), grid=Grid(even(-32, 31), 16, (-128, 127))
)

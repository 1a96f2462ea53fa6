"""Q3_K: 256 weights in 110 bytes, 3.4375 bits each; sixteen groups of 16 with 6-bit scales.

    byte   0            32               96       108  110
           | third bits | quarters       | scales | d  |
    d: f16. The third bit of code 32 * k + i, k = 0..7, is bit k of byte i; the low two bits are quarters, see
    packing/two_bits.py. Scales, as codes 0..63 for -32..31: byte i of the first eight holds the low nibbles of scales i
    (low) and 8 + i (high); byte 8 + i, i = 0..3, the high two bits of scales i, 4 + i, 8 + i, 12 + i from low to high.

    weight = d * scale_code * (code - 4)        code in 0..7, scale_code in -32..31

Source: block_q3_K, quantize_row_q3_K_ref, quantize_row_q3_K_impl, dequantize_row_q3_K.
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
from quantize_cli.quants.search.descent import begin_descent, search_scale_by_descent

f32 = np.float32
BLOCK = np.dtype([("third_bits", "u1", 32), ("quarters", "u1", 64), ("scales", "u1", 12), ("scale", "<f2")])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "i1", 16), ("code", "u1", 256)])
_GROUPS, _GROUP, _LIMIT = 16, 16, 4
_BATCH = 64
"""Super-blocks searched together: of their 1024 groups some 200 wait for a descent."""
_FOUND = scales.CODES  # rows of the workspace


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 256)
    codes = np.empty(len(weights), CODES)
    if importance is None:
        _quantize(weights, *fields.arrays(codes))
    else:
        _quantize_weighted(weights, importance.reshape(-1, 256), *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, scale, scale_code, code):
    """Without importance: one super-block's groups fill the lanes; those not done at once wait for others like them."""
    blocks = weights.shape[0]
    work, wide = scales.workspace(scales.WORK_ROWS), scales.wide_workspace(scales.WORK_ROWS)
    group_scales, waiting = scales.workspace(_BATCH), np.empty(_BATCH * _GROUPS + 1, np.int64)
    for first in range(0, blocks, _BATCH):
        together, count = min(_BATCH, blocks - first), 0
        for i in range(together):
            scales.gather(work, scales.WEIGHTS, weights, blocks, first + i, _GROUP, _GROUPS)
            count = _wait(waiting, count, i, np.int32(begin_descent(work, _GROUP, _LIMIT)))
            simd.set_row(group_scales, i, simd.row(work, scales.SCALE))
        for start in range(0, count, 32):
            _descend(wide, group_scales, weights, first, waiting[start:count])
        for start in range(0, together, 16):
            _encode_sixteen(work, group_scales, start, weights, first, scale, scale_code, code)


@inlined
def _encode_sixteen(work, group_scales, start, weights, first, scale, scale_code, code):
    """The codes of sixteen super-blocks, from the scales found."""
    extreme, stored_scale = scales.workspace(1), scales.workspace(1)
    for i in range(16):
        simd.set_row(work, scales.WEIGHTS + i, simd.row(group_scales, start + i))
    simd.transpose(work, scales.WEIGHTS, 0)
    simd.set_row(extreme, 0, scales.extremes(work, _GROUPS)[0])
    for i in range(min(16, weights.shape[0] - first - start)):
        block, silent = first + start + i, extreme[0, i] == f32(0)
        inverse = f32(-32) / extreme[0, i]
        scale[block] = simd.to_half(f32(0) if silent else f32(1) / inverse)
        found = simd.nearest(inverse * simd.row(group_scales, start + i)) << 24 >> 24  # past a byte the reference wraps
        found = simd.splat(np.int32(-32)) if silent else simd.maximum(simd.minimum(found, 31), -32)
        simd.store(scale_code, block, 0, found)
        simd.set_row(stored_scale, 0, simd.from_half(scale[block]) * simd.to_float(found))
        if not _encode_block(weights, block, stored_scale, code):
            _encode_by_search(work, weights, block, stored_scale, code)


@inlined
def _wait(waiting, count, i, moving):
    """Append the groups of super-block `i` whose bit of `moving` is set; gives how many wait now."""
    for group in range(_GROUPS):
        waiting[count] = _GROUPS * i + group
        count += moving >> group & 1
    return count


@inlined
def _descend(wide, group_scales, weights, first, waiting):
    """Give up to 32 waiting groups, numbered from super-block `first` on, the scales the descent ends with."""
    for lane in range(32):
        group = waiting[min(lane, len(waiting) - 1)]
        found = simd.load(weights, first + group // _GROUPS, group % _GROUPS * _GROUP)
        simd.store(wide, scales.WEIGHTS + lane % 16, lane // 16 * 16, found)
    simd.transpose(wide, scales.WEIGHTS, 0)
    simd.transpose(wide, scales.WEIGHTS, 1)
    search_scale_by_descent(wide, _GROUP, _LIMIT)
    for lane in range(min(32, len(waiting))):
        group_scales[waiting[lane] // _GROUPS, waiting[lane] % _GROUPS] = wide[scales.SCALE, lane // 16, lane % 16]


@inlined
def _encode_block(weights, block, stored_scale, code):
    """Codes of a super-block by its groups' scales as stored; gives whether none of them is zero."""
    whole = True
    for group in range(_GROUPS):
        d = stored_scale[0, group]
        found = simd.nearest(simd.load(weights, block, group * _GROUP) / d)
        simd.store(code, block, group * _GROUP, simd.maximum(simd.minimum(found, _LIMIT - 1), -_LIMIT) + _LIMIT)
        whole = whole and d != f32(0)
    return whole


@inlined
def _encode_by_search(work, weights, block, stored_scale, code):
    """The search's own codes, for the groups of a super-block whose stored scale is zero."""
    scales.gather(work, scales.WEIGHTS, weights, block + 1, block, _GROUP, _GROUPS)
    search_scale_by_descent(work, _GROUP, _LIMIT)
    for group in range(_GROUPS):
        if stored_scale[0, group] == f32(0):
            for i in range(_GROUP):
                code[block, group * _GROUP + i] = np.int32(work[_FOUND + i, group]) + _LIMIT


@inlined
def _encode(weights, block, group, scale, scale_code, code):
    """Whether the stored scale of a group is not zero; where it is not, the codes it gives."""
    d = simd.from_half(scale[block]) * f32(scale_code[block, group])
    if d != f32(0):
        found = simd.nearest(simd.load(weights, block, group * _GROUP) / d)
        simd.store(code, block, group * _GROUP, simd.maximum(simd.minimum(found, _LIMIT - 1), -_LIMIT) + _LIMIT)
    return d != f32(0)


@kernel
def _quantize_weighted(weights, importance, scale, scale_code, code):
    """With importance: the scales of sixteen super-blocks, once found, fill the lanes of a second search."""
    blocks = weights.shape[0]
    work, second = scales.workspace(scales.WORK_ROWS), scales.workspace(scales.WORK_ROWS)
    tall, squares, inverse = scales.workspace(256), scales.workspace(1), np.empty((16, 16), np.float32)
    for first in range(0, blocks, 16):
        together = min(16, blocks - first)
        simd.set_row(squares, 0, f32(2) * scales.sums_of_squares(tall, weights, blocks, first) / f32(256))
        for lane in range(together):
            _search_groups(work, weights, importance, first + lane, squares[0, lane])
            for group in range(_GROUPS):
                second[scales.WEIGHTS + group, lane] = work[scales.SCALE, group]
                second[scales.IMPORTANCE + group, lane] = work[_FOUND, group]
                inverse[lane, group] = work[scales.INVERSE, group]
        scales.search_scale(second, _GROUPS, 32)
        for lane in range(together):
            block = first + lane
            scale[block] = simd.to_half(second[scales.SCALE, lane])
            for group in range(_GROUPS):
                value = second[scales.WEIGHTS + group, lane]
                scale_code[block, group] = _searched_code(second[scales.INVERSE, lane], value, 32)
                if not _encode(weights, block, group, scale, scale_code, code):
                    for i in range(group * _GROUP, group * _GROUP + _GROUP):
                        code[block, i] = _searched_code(inverse[lane, group], weights[block, i], _LIMIT) + _LIMIT


@inlined
def _search_groups(work, weights, importance, block, variance):
    """SCALE and INVERSE of the groups of one super-block, and in _FOUND the sums of their importance."""
    scales.gather(work, scales.WEIGHTS, weights, weights.shape[0], block, _GROUP, _GROUPS)
    scales.gather(work, scales.IMPORTANCE, importance, weights.shape[0], block, _GROUP, _GROUPS)
    total = scales.weigh(work, _GROUP, simd.splat(variance))
    scales.search_scale(work, _GROUP, _LIMIT)
    simd.store(work, _FOUND, 0, total)


@inlined
def _searched_code(inverse, value, limit):
    """The code the search itself gave; the lowest in a group that counts as all zero."""
    return max(-limit, min(limit - 1, scales.nearest_int(inverse * value))) if inverse != f32(0) else -limit


@kernel
def _dequantize(scale, scale_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(_GROUPS):
            d = simd.from_half(scale[block]) * f32(scale_code[block, group])
            simd.store(weights, block, 16 * group, d * simd.to_float(simd.load(code, block, 16 * group) - _LIMIT))


@kernel
def _pack_rest(code, scale_code, third_bits, scales):
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            third = simd.splat(np.int32(0))
            for k in range(8):
                third = third | (simd.load(code, block, 32 * k + i) >> 2) << k
            simd.store(third_bits, block, i, third)
        for i in range(8):
            scales[block, i] = ((scale_code[block, i] + 32) & 15) | ((scale_code[block, 8 + i] + 32) & 15) << 4
        for i in range(4):
            high = 0
            for k in range(4):
                high |= (scale_code[block, 4 * k + i] + 32) >> 4 << 2 * k
            scales[block, 8 + i] = high


@kernel
def _unpack_rest(third_bits, scales, code, scale_code):
    """Adds to codes of two bits their third."""
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            third = simd.load(third_bits, block, i)
            for k in range(8):
                simd.store(code, block, 32 * k + i, simd.load(code, block, 32 * k + i) | (third >> k & 1) << 2)
        for i in range(16):
            low, high = scales[block, i % 8] >> 4 * (i // 8) & 15, scales[block, 8 + i % 4] >> 2 * (i // 4) & 3
            scale_code[block, i] = (low | high << 4) - 32


_MOVER = fields.mover(
    CODES, BLOCK, fields.Move(pack_quarters, unpack_quarters, ("code",), ("quarters",)),
    fields.Move(_pack_rest, _unpack_rest, ("code", "scale_code"), ("third_bits", "scales")),
)  # fmt: skip
QUANT = QuantType(
    GgmlType.Q3_K, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize), grid=Grid(even(-4, 3), 16, (-32, 31))
)

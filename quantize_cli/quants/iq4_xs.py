"""IQ4_XS: 256 weights in 136 bytes, 4.25 bits each, on sixteen uneven levels; eight groups of 32 with 6-bit scales.

    byte   0    2      4      8                        136
           | d  | high | low  |  nibbles               |
    d: f16. Scales, as codes 0..63 for -32..31: nibble i of `low` holds the low four bits of scale i, the pair of bits i
    of `high`, a u16, its high two. Nibbles: each group as packing/nibbles.py has it.

    weight = d * scale_code * LEVELS[code]        code in 0..15, scale_code in -32..31; see shared/nonlinear.py

Source: block_iq4_xs, quantize_row_iq4_nl_impl, dequantize_row_iq4_xs.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import from_half, load, store, to_half
from quantize_cli.quants.interface.grid import Grid
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.nibbles import pack_nibbles, unpack_nibbles
from quantize_cli.quants.search import scales
from quantize_cli.quants.search.row import sum_of_squares
from quantize_cli.quants.shared.nonlinear import GROUP, LEVELS, encode_levels, levels_of, search_level_scale

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("high", "<u2"), ("low", "u1", 4), ("nibbles", "u1", 128)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "i1", 8), ("code", "u1", 256)])
_GROUPS = 8


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, 256)
    codes = np.empty(len(weights), CODES)
    costs = weights if importance is None else importance.reshape(-1, 256)
    _quantize(weights, costs, importance is None, *fields.arrays(codes))
    return codes


def _pack_groups(code: np.ndarray, nibbles: np.ndarray) -> None:
    groups = np.empty((len(code) * _GROUPS, 16), np.uint8)
    pack_nibbles(np.ascontiguousarray(code).reshape(-1, GROUP), groups)
    nibbles[:] = groups.reshape(-1, 128)


def _unpack_groups(nibbles: np.ndarray, code: np.ndarray) -> None:
    groups = np.empty((len(nibbles) * _GROUPS, GROUP), np.uint8)
    unpack_nibbles(np.ascontiguousarray(nibbles).reshape(-1, 16), groups)
    code[:] = groups.reshape(-1, 256)


@kernel
def _quantize(weights, importance, squared, scale, scale_code, code):
    """Two super-blocks fill the sixteen lanes; `squared` says that a weight's importance is its square."""
    blocks = weights.shape[0]
    work = np.empty((scales.WORK_ROWS, 16), np.float32)
    variance = np.empty((1, 16), np.float32)
    for block in range(0, blocks, 2):
        scales.gather(work, scales.WEIGHTS, weights, blocks, block, GROUP, _GROUPS)
        if squared:
            scales.weigh_by_squares(work, GROUP)
        else:
            scales.gather(work, scales.IMPORTANCE, importance, blocks, block, GROUP, _GROUPS)
            for half in range(2):
                squares = sum_of_squares(weights, min(block + half, blocks - 1))
                variance[0, half * _GROUPS : (half + 1) * _GROUPS] = squares * f32(2 / 256)
            scales.weigh(work, GROUP, load(variance, 0, 0))
        search_level_scale(work)
        for half in range(min(2, blocks - block)):
            group_scales = work[scales.SCALE, half * _GROUPS : (half + 1) * _GROUPS]
            scale[block + half] = _encode(weights, block + half, group_scales, scale_code, code)


@inlined
def _encode(weights, block, group_scales, scale_code, code):
    """The codes of one super-block from its groups' scales; gives its own scale, as an IEEE half."""
    extreme = f32(0)
    for group in range(_GROUPS):
        extreme = group_scales[group] if abs(group_scales[group]) > abs(extreme) else extreme
    d = -extreme / f32(32)
    inverse = f32(1) / d if d != f32(0) else f32(0)
    for group in range(_GROUPS):
        scale_code[block, group] = max(-32, min(31, scales.nearest_int(inverse * group_scales[group])))
        encode_levels(weights, block, group * GROUP, d * f32(scale_code[block, group]), code)
    return to_half(d)


@kernel
def _dequantize(scale, scale_code, code, weights):
    for block in range(code.shape[0]):
        for group in range(_GROUPS):
            d = from_half(scale[block]) * f32(scale_code[block, group])
            for i in range(group * GROUP, (group + 1) * GROUP, 16):
                store(weights, block, i, levels_of(code, block, i) * d)


@kernel
def _pack_scales(scale_code, high, low):
    for block in range(scale_code.shape[0]):
        top = 0
        for i in range(4):
            first, second = scale_code[block, 2 * i] + 32, scale_code[block, 2 * i + 1] + 32
            low[block, i] = (first & 15) | (second & 15) << 4
            top |= (first >> 4 | (second >> 4) << 2) << 4 * i
        high[block] = top


@kernel
def _unpack_scales(high, low, scale_code):
    for block in range(scale_code.shape[0]):
        for i in range(8):
            bottom, top = low[block, i // 2] >> 4 * (i % 2) & 15, high[block] >> 2 * i & 3
            scale_code[block, i] = (bottom | top << 4) - 32


_MOVER = fields.mover(
    CODES, BLOCK, fields.Move(_pack_scales, _unpack_scales, ("scale_code",), ("high", "low")),
    fields.Move(_pack_groups, _unpack_groups, ("code",), ("nibbles",)),
)  # fmt: skip
_GRID = Grid(LEVELS, GROUP, (-32, 31))
QUANT = QuantType(GgmlType.IQ4_XS, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize), grid=_GRID)

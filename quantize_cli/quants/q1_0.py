"""Q1_0: 128 weights in 18 bytes, 1.125 bits each: their signs.

    byte   0    2                 18
           | d  | 128 bits        |
    d: f16. Code i is bit i % 8 of byte i / 8.

    weight = d if code else -d        d = mean magnitude; code 1 for weights of zero and above

Importance changes nothing. Source: block_q1_0, quantize_row_q1_0_ref, dequantize_row_q1_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import absolute, from_half, lane_bits, lanes_where, load, select, splat, store, store_half
from quantize_cli.quants.interface.grid import Grid
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.search.scales import gather

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("signs", "<u2", 8)])
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 128)])
_WIDTH = 128


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, _WIDTH)
    codes = np.empty(len(weights), CODES)
    _quantize(weights, *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, scale, code):
    """The magnitudes of sixteen blocks are summed in the sixteen lanes."""
    blocks = weights.shape[0]
    work = np.empty((_WIDTH, 16), np.float32)
    scales = np.empty((1, 16), np.uint16)
    for first in range(0, blocks, 16):
        gather(work, 0, weights, blocks, first, _WIDTH, 1)
        total = splat(f32(0))
        for i in range(_WIDTH):
            total = total + absolute(load(work, i, 0))
        store_half(scales, 0, 0, total / f32(_WIDTH))
        for block in range(first, min(first + 16, blocks)):
            scale[block] = scales[0, block - first]
            for i in range(0, _WIDTH, 16):
                store(code, block, i, select(load(weights, block, i) >= f32(0), splat(1), splat(0)))


@kernel
def _pack_signs(code, signs):
    for block in range(code.shape[0]):
        for i in range(8):
            signs[block, i] = lane_bits(load(code, block, 16 * i) > 0)


@kernel
def _unpack_signs(signs, code):
    for block in range(code.shape[0]):
        for i in range(8):
            store(code, block, 16 * i, select(lanes_where(signs[block, i]), splat(1), splat(0)))


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        for i in range(0, _WIDTH, 16):
            store(weights, block, i, select(load(code, block, i) > 0, splat(d), splat(-d)))


_MOVER = fields.mover(CODES, BLOCK, fields.Move(_pack_signs, _unpack_signs, ("code",), ("signs",)))
QUANT = QuantType(
    GgmlType.Q1_0, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize),
    grid=Grid(np.array([-1, 1], np.float32), group=128),
)  # fmt: skip

"""IQ4_NL: 32 weights in 18 bytes, 4.5 bits each, on sixteen uneven levels.

    byte   0    2                 18
           | d  | 16 x nibbles    |
    d: f16. Nibbles: see packing/nibbles.py.

    weight = d * LEVELS[code]        code in 0..15; see shared/nonlinear.py

Source: block_iq4_nl, quantize_row_iq4_nl_impl, dequantize_row_iq4_nl.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import from_half, load, splat, store, to_half
from quantize_cli.quants.interface.grid import Grid
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.nibbles import pack_nibbles, unpack_nibbles
from quantize_cli.quants.search.scales import IMPORTANCE, SCALE, WEIGHTS, WORK_ROWS, gather, weigh, weigh_by_squares
from quantize_cli.quants.shared.nonlinear import GROUP, LEVELS, encode_levels, levels_of, search_level_scale

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    weights = weights.reshape(-1, GROUP)
    codes = np.empty(len(weights), CODES)
    costs = weights if importance is None else importance.reshape(-1, GROUP)
    _quantize(weights, costs, importance is None, *fields.arrays(codes))
    return codes


@kernel
def _quantize(weights, importance, squared, scale, code):
    """Sixteen blocks fill the sixteen lanes; `squared` says that a weight's importance is its square."""
    blocks = weights.shape[0]
    work = np.empty((WORK_ROWS, 16), np.float32)
    for block in range(0, blocks, 16):
        gather(work, WEIGHTS, weights, blocks, block, GROUP, 1)
        if squared:
            weigh_by_squares(work, GROUP)
        else:
            gather(work, IMPORTANCE, importance, blocks, block, GROUP, 1)
            squares = splat(f32(0))
            for i in range(GROUP):
                squares = squares + load(work, WEIGHTS + i, 0) * load(work, WEIGHTS + i, 0)
            weigh(work, GROUP, squares * f32(2 / GROUP))
        search_level_scale(work)
        for lane in range(min(16, blocks - block)):
            scale[block + lane] = to_half(work[SCALE, lane])
            encode_levels(weights, block + lane, 0, work[SCALE, lane], code)


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = from_half(scale[block])
        store(weights, block, 0, levels_of(code, block, 0) * d)
        store(weights, block, 16, levels_of(code, block, 16) * d)


_MOVER = fields.mover(CODES, BLOCK, fields.Move(pack_nibbles, unpack_nibbles, ("code",), ("nibbles",)))
QUANT = QuantType(GgmlType.IQ4_NL, BLOCK, quantize, *_MOVER, fields.dequantizer(_dequantize), grid=Grid(LEVELS, GROUP))

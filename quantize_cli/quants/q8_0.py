"""Q8_0: 32 weights in 34 bytes, 8.5 bits each.

    byte   0    2                 34
           | d  | 32 codes, i8    |
    d: f16.

    weight = d * code        d = largest magnitude / 127, code = weight / d rounded half away from zero

Importance changes nothing. Source: block_q8_0, quantize_row_q8_0_ref, dequantize_row_q8_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit import simd
from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields
from quantize_cli.quants.packing.nibbles import put_codes
from quantize_cli.quants.search.batch import AHEAD, BATCH, INVERSES, in_batches, put_half, store_inverse

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("code", "i1", 32)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 32, BLOCK)
    encode(weights, importance, codes)
    return codes


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    in_batches(_fill, weights.reshape(-1, 32), blocks)


def _fill(weights: np.ndarray, blocks: np.ndarray) -> None:
    _encode(weights, *fields.arrays(blocks))


def pack(codes: np.ndarray) -> np.ndarray:
    """The codes themselves: the file stores them as they are."""
    return codes


def unpack(blocks: np.ndarray) -> np.ndarray:
    """The blocks themselves."""
    return blocks


@kernel
def _encode(weights, scale, code):
    """Weights (n, 32), n >= BATCH."""
    numbers, halves = np.empty((1, BATCH), np.float32), np.empty((1, BATCH), np.uint16)
    for batch in range(0, weights.shape[0], BATCH):
        start = min(batch, weights.shape[0] - BATCH)
        finite = True
        for part in range(0, BATCH, 16):
            d = simd.row_magnitudes(weights, start + part) / f32(127)
            simd.store_half(halves, 0, part, d)
            finite &= store_inverse(numbers, part, d)
        if finite:
            _write(weights, start, numbers, halves, True, scale, code)
        else:
            _write(weights, start, numbers, halves, False, scale, code)


@merged
def _write(weights, start, numbers, halves, finite, scale, code):
    for lane in range(BATCH):
        block, inverse = start + lane, numbers[INVERSES, lane]
        simd.prefetch(weights, block + AHEAD)
        put_half(scale, block, halves, 0, lane)
        first, second = simd.load(weights, block, 0) * inverse, simd.load(weights, block, 16) * inverse
        put_codes((code,), block, _nearest(first, finite), _nearest(second, finite))


@merged
def _nearest(scaled, finite):
    """Where an inverse was not finite there are infinities, and NaN from zeros."""
    return simd.fitting_int_away(scaled) if finite else simd.to_int(simd.round_half_away(scaled))


@kernel
def _dequantize(scale, code, weights):
    for block in range(code.shape[0]):
        d = simd.from_half(scale[block])
        simd.store(weights, block, 0, d * simd.to_float(simd.load(code, block, 0)))
        simd.store(weights, block, 16, d * simd.to_float(simd.load(code, block, 16)))


QUANT = QuantType(
    GgmlType.Q8_0,
    BLOCK,
    quantize,
    pack,
    unpack,
    fields.dequantizer(_dequantize),
    encode,
    grid=Grid(even(-127, 127), group=32, first=-127),
)

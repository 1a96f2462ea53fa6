"""Q4_K: 256 weights in 144 bytes, 4.5 bits each; eight groups of 32 with 6-bit scales and minima.

    byte   0    2    4              16                       144
           | d  | m  | scales, minima |  nibbles              |
    d, m: f16. scales, minima: see shared/k_scales.py. Nibbles: byte 32 * k + i, k = 0..3, holds code 64 * k + i low
    and code 64 * k + 32 + i high.

    weight = d * scale_code * code - m * minimum_code        code in 0..15

Source: block_q4_K, quantize_row_q4_K_ref, quantize_row_q4_K_impl, dequantize_row_q4_K.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import load, store
from quantize_cli.quants.packing.fields import Move
from quantize_cli.quants.shared import k_scales

BLOCK = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("pairs", "u1", 12), ("nibbles", "u1", 128)])
_SEARCH = (np.float32(-1), np.float32(0.1), 20)


@kernel
def _pack_nibbles(code, nibbles):
    for block in range(code.shape[0]):
        for part in range(4):
            for i in range(0, 32, 16):
                low, high = load(code, block, 64 * part + i), load(code, block, 64 * part + 32 + i)
                store(nibbles, block, 32 * part + i, low | high << 4)


@kernel
def _unpack_nibbles(nibbles, code):
    for block in range(code.shape[0]):
        for part in range(4):
            for i in range(0, 32, 16):
                both = load(nibbles, block, 32 * part + i)
                store(code, block, 64 * part + i, both & 15)
                store(code, block, 64 * part + 32 + i, both >> 4)


_MOVE = Move(_pack_nibbles, _unpack_nibbles, ("code",), ("nibbles",))
QUANT = k_scales.quant_of(GgmlType.Q4_K, BLOCK, 15, _SEARCH, _MOVE)

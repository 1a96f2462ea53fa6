"""Q5_K: 256 weights in 176 bytes, 5.5 bits each; Q4_K with one more bit per code.

    byte   0    2    4              16          48                       176
           | d  | m  | scales, minima | fifth bits |  nibbles              |
    d, m: f16. scales, minima: see shared/k_scales.py. Nibbles as in Q4_K. The fifth bit of code 32 * k + i, k = 0..7,
    is bit k of byte i.

    weight = d * scale_code * code - m * minimum_code        code in 0..31

Source: block_q5_K, quantize_row_q5_K_ref, quantize_row_q5_K_impl, dequantize_row_q5_K.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import load, splat, store
from quantize_cli.quants.packing.fields import Move
from quantize_cli.quants.shared import k_scales

BLOCK = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("pairs", "u1", 12), ("fifth_bits", "u1", 32), ("nibbles", "u1", 128)]
)
_SEARCH = (np.float32(-0.5), np.float32(0.1), 15)


@kernel
def _pack_codes(code, fifth_bits, nibbles):
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            fifth = splat(np.int32(0))
            for part in range(4):
                low, high = load(code, block, 64 * part + i), load(code, block, 64 * part + 32 + i)
                store(nibbles, block, 32 * part + i, (low & 15) | (high & 15) << 4)
                fifth = fifth | (low >> 4) << (2 * part) | (high >> 4) << (2 * part + 1)
            store(fifth_bits, block, i, fifth)


@kernel
def _unpack_codes(fifth_bits, nibbles, code):
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            fifth = load(fifth_bits, block, i)
            for part in range(4):
                both = load(nibbles, block, 32 * part + i)
                store(code, block, 64 * part + i, (both & 15) | (fifth >> (2 * part) & 1) << 4)
                store(code, block, 64 * part + 32 + i, both >> 4 | (fifth >> (2 * part + 1) & 1) << 4)


_MOVE = Move(_pack_codes, _unpack_codes, ("code",), ("fifth_bits", "nibbles"))
QUANT = k_scales.quant_of(GgmlType.Q5_K, BLOCK, 31, _SEARCH, _MOVE)

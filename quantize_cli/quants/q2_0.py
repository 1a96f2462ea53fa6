"""Q2_0: 64 weights in 18 bytes, 2.25 bits each.

    byte   0    2                 18
           | d  | 64 pairs        |
    d: f16. Code i is the pair of bits i % 4, from low to high, of byte i / 4.

    weight = d * (code - 1)        d = largest magnitude; see shared/ternary.py

Importance changes nothing. Source: block_q2_0, quantize_row_q2_0_ref, dequantize_row_q2_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.packing.fields import Move
from quantize_cli.quants.shared import ternary

BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])


@kernel
def _pack_pairs(code, pairs):
    for block in range(code.shape[0]):
        for i in range(16):
            low, high = (
                code[block, 4 * i] | code[block, 4 * i + 1] << 2,
                code[block, 4 * i + 2] | code[block, 4 * i + 3] << 2,
            )
            pairs[block, i] = low | high << 4


@kernel
def _unpack_pairs(pairs, code):
    for block in range(code.shape[0]):
        for i in range(16):
            for k in range(4):
                code[block, 4 * i + k] = pairs[block, i] >> 2 * k & 3


_MOVE = Move(_pack_pairs, _unpack_pairs, ("code",), ("pairs",))
QUANT = ternary.quant_of(GgmlType.Q2_0, BLOCK, _MOVE, top=2, overflow=0)

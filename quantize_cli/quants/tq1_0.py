"""TQ1_0: 256 weights in 54 bytes, 1.6875 bits each; for models trained with weights of -1, 0 and 1.

    byte   0            32         48     52   54
           | fives      | fives    | fours| d  |
    d: f16. A byte holds the digits of a number in base 3, the first the most significant: byte i of the first 32 codes
    i, 32 + i .. 128 + i; byte i of the next 16 codes 160 + i, 176 + i .. 224 + i; byte i of the last four codes
    240 + i, 244 + i, 248 + i, 252 + i and a zero. The number n = 0..242 is stored as n * 256 / 243 rounded up, so that
    a reader finds its digits by multiplying by 3 and looking at what overflows a byte.

    weight = d * (code - 1)        code in 0..2, d = largest magnitude; see shared/ternary.py

Thirteen bytes stand for no number; they read as the number below. Importance changes nothing. Source: block_tq1_0,
quantize_row_tq1_0_ref, dequantize_row_tq1_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import inlined, kernel
from quantize_cli.jit.simd import load, splat, store
from quantize_cli.quants.packing.fields import Move
from quantize_cli.quants.shared import ternary

BLOCK = np.dtype([("fives", "u1", 48), ("fours", "u1", 4), ("scale", "<f2")])


@kernel
def _pack_digits(code, fives, fours):
    for block in range(code.shape[0]):
        for i, start, apart in ((0, 0, 32), (16, 16, 32), (32, 160, 16)):
            number = splat(np.int32(0))
            for k in range(5):
                number = number * 3 + load(code, block, start + apart * k)
            store(fives, block, i, _stored(number))
        for i in range(4):
            number = 0
            for k in range(4):
                number = number * 3 + code[block, 240 + i + 4 * k]
            fours[block, i] = _stored(number * 3)


@inlined
def _stored(number):
    """The number times 256 / 243, rounded up; for 0..242 the product with 1079 / 2**18 is exactly a division by 243."""
    return number + ((number * 13 + 242) * 1079 >> 18)


@kernel
def _unpack_digits(fives, fours, code):
    for block in range(code.shape[0]):
        for i, start, apart in ((0, 0, 32), (16, 16, 32), (32, 160, 16)):
            rest = load(fives, block, i)
            for k in range(5):
                store(code, block, start + apart * k, rest * 3 >> 8)
                rest = rest * 3 & 255
        for i in range(4):
            rest = np.int64(fours[block, i])
            for k in range(4):
                code[block, 240 + i + 4 * k] = rest * 3 >> 8
                rest = rest * 3 & 255


_MOVE = Move(_pack_digits, _unpack_digits, ("code",), ("fives", "fours"))
QUANT = ternary.quant_of(GgmlType.TQ1_0, BLOCK, _MOVE)

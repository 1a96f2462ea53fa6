"""The fifth bits of codes in blocks of 32, of Q5_0 and Q5_1: bit i of a u32 belongs to code i."""

import numpy as np

from quantize_cli.dots.kernels.lanes import byte_where
from quantize_cli.dots.kernels.memory import int_at
from quantize_cli.jit.kernel import merged

_SIXTEEN, _LOW = np.int32(16), np.int64(0xFFFF)


@merged
def fifth_bits(a, b, c, d):
    """Addresses of four u32 -> what to add to the first sixteen codes of each block, and to the last."""
    a, b, c, d = np.int64(int_at(a)), np.int64(int_at(b)), np.int64(int_at(c)), np.int64(int_at(d))
    first = (a & _LOW) | (b & _LOW) << 16 | (c & _LOW) << 32 | d << 48
    last = (a >> 16 & _LOW) | (b >> 16 & _LOW) << 16 | (c >> 16 & _LOW) << 32 | (d >> 16) << 48
    return byte_where(first, _SIXTEEN), byte_where(last, _SIXTEEN)

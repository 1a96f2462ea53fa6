"""Products with Q8_0; quants/q8_0.py draws its block. A code with its sign bit flipped is the code + 128, unsigned."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.blocks_of_32 import symmetric
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.addresses import join_quarters
from quantize_cli.quants.q8_0 import BLOCK

_FIRST = offsets(BLOCK).code
_LAST = _FIRST + 16
_SIGNS = np.int32(-0x7F7F7F80)


@merged
def _codes(a, b, c, d):
    first = join_quarters(a + _FIRST, b + _FIRST, c + _FIRST, d + _FIRST)
    return first ^ _SIGNS, join_quarters(a + _LAST, b + _LAST, c + _LAST, d + _LAST) ^ _SIGNS


DOT = symmetric(BLOCK, _codes, zero=128)

"""Products with MXFP4; quants/mxfp4.py draws its block. Twice its numbers are integers; 12 more, unsigned."""

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.blocks_of_32 import dot_of, run_of
from quantize_cli.dots.shared.nibbles import points_of
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd import from_bits, select, splat
from quantize_cli.jit.simd.addresses import byte_at
from quantize_cli.jit.simd.packed import quarters_of
from quantize_cli.quants.mxfp4 import BLOCK
from quantize_cli.quants.shared.e2m1 import MAGNITUDES

_EXPONENT, _ZERO = offsets(BLOCK).exponent, 12
_POINTS = tuple(_ZERO + sign * int(twice) for sign in (1, -1) for twice in MAGNITUDES)
_HALF_OF_SMALLEST = np.int32(0x00200000)


@merged
def _scales(a, b, c, d):
    a, b, c, d = byte_at(a + _EXPONENT), byte_at(b + _EXPONENT), byte_at(c + _EXPONENT), byte_at(d + _EXPONENT)
    exponent = quarters_of(a, b, c, d)
    # Half of 2 ** (exponent - 127), of which the two smallest are denormal.
    scale = from_bits(select(exponent < 2, splat(_HALF_OF_SMALLEST) << exponent, (exponent - 1) << 23))
    return scale, scale


DOT = dot_of(BLOCK, points_of(BLOCK, _POINTS), _scales, run_of(_scales, BLOCK.itemsize), np.float32(-_ZERO))

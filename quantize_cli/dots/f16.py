"""Products with F16: weights of 2 bytes, IEEE halves."""

from quantize_cli.dots.kernels.floats import float_dot
from quantize_cli.jit.simd.addresses import half_at, load_halves
from quantize_cli.quants.f16 import BLOCK

DOT = float_dot(BLOCK, load_halves, half_at)

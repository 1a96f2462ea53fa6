"""Products with F32: weights of 4 bytes, float32."""

from quantize_cli.dots.kernels.floats import float_dot
from quantize_cli.jit.simd.addresses import float_at, load_floats
from quantize_cli.quants.f32 import BLOCK

DOT = float_dot(BLOCK, load_floats, float_at)

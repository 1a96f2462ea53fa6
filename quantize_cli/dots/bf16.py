"""Products with BF16: weights of 2 bytes, bfloat16."""

from quantize_cli.dots.kernels.floats import float_dot
from quantize_cli.jit.simd.addresses import bfloat16_at, load_bfloat16
from quantize_cli.quants.bf16 import BLOCK

DOT = float_dot(BLOCK, load_bfloat16, bfloat16_at, is_bfloat16=True)

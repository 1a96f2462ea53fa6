"""Products with BF16: weights of 2 bytes, bfloat16."""

from quantize_cli.dots.kernels.floats import float_dot
from quantize_cli.jit.simd.addresses import brain_at, load_brains
from quantize_cli.quants.bf16 import BLOCK

DOT = float_dot(BLOCK, load_brains, brain_at, is_brain=True)

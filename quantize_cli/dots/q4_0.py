"""Products with Q4_0; quants/q4_0.py draws its block."""

from quantize_cli.dots.shared.blocks_of_32 import symmetric
from quantize_cli.dots.shared.nibbles import nibbles_of
from quantize_cli.quants.q4_0 import BLOCK

DOT = symmetric(BLOCK, nibbles_of(BLOCK), zero=8)

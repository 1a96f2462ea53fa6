"""Products with Q5_0; quants/q5_0.py draws its block."""

from quantize_cli.dots.shared.blocks_of_32 import symmetric
from quantize_cli.dots.shared.nibbles import five_bits_of
from quantize_cli.quants.q5_0 import BLOCK

DOT = symmetric(BLOCK, five_bits_of(BLOCK), zero=16)

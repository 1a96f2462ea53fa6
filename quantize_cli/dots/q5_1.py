"""Products with Q5_1; quants/q5_1.py draws its block."""

from quantize_cli.dots.shared.blocks_of_32 import affine
from quantize_cli.dots.shared.nibbles import five_bits_of
from quantize_cli.quants.q5_1 import BLOCK

DOT = affine(BLOCK, five_bits_of(BLOCK))

"""Products with Q4_1; quants/q4_1.py draws its block."""

from quantize_cli.dots.shared.blocks_of_32 import affine
from quantize_cli.dots.shared.nibbles import nibbles_of
from quantize_cli.quants.q4_1 import BLOCK

DOT = affine(BLOCK, nibbles_of(BLOCK))

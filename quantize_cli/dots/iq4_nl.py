"""Products with IQ4_NL; quants/iq4_nl.py draws its block. Its points are taken 128 higher, to be unsigned."""

from quantize_cli.dots.shared.blocks_of_32 import symmetric
from quantize_cli.dots.shared.nibbles import points_of
from quantize_cli.quants.iq4_nl import BLOCK
from quantize_cli.quants.shared.nonlinear import LEVELS

DOT = symmetric(BLOCK, points_of(BLOCK, tuple(int(level) + 128 for level in LEVELS)), zero=128)

"""Products with Q4_K; quants/q4_k.py draws its block."""

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.shared.k_scales import dot_of
from quantize_cli.dots.shared.nibbles import NIBBLES
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.addresses import load_bytes
from quantize_cli.quants.q4_k import BLOCK

_OFFSET = offsets(BLOCK)


@merged
def _codes(block, half):
    """Of 128 columns the first and third 32, and the second and fourth."""
    both = load_bytes(block + _OFFSET.nibbles + 64 * half)
    return both & NIBBLES, (both >> 4) & NIBBLES


DOT = dot_of(BLOCK, _codes)

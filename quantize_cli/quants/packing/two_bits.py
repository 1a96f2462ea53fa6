"""Where blocks of 256 keep codes of two bits.

For each half h = 0, 1 of 128 codes, byte 32 * h + l, l = 0..31, holds codes 128 * h + l, + 32, + 64 and + 96, from its
low bits to its high ones.
"""

from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import load, store


@kernel
def pack_quarters(code, quarters):
    """Codes (n, 256) u8 -> their low two bits (n, 64) u8."""
    for block in range(code.shape[0]):
        for start in range(2):
            for i in range(0, 32, 16):
                at = 128 * start + i
                low = (load(code, block, at) & 3) | (load(code, block, at + 32) & 3) << 2
                high = (load(code, block, at + 64) & 3) | (load(code, block, at + 96) & 3) << 2
                store(quarters, block, 32 * start + i, low | high << 4)


@kernel
def unpack_quarters(quarters, code):
    """The reverse of `pack_quarters`."""
    for block in range(code.shape[0]):
        for start in range(2):
            for i in range(0, 32, 16):
                four, at = load(quarters, block, 32 * start + i), 128 * start + i
                store(code, block, at, four & 3)
                store(code, block, at + 32, four >> 2 & 3)
                store(code, block, at + 64, four >> 4 & 3)
                store(code, block, at + 96, four >> 6)

"""Where blocks of 32 keep codes of four and five bits.

Byte i of sixteen holds the low four bits of code i (low nibble) and of code 16 + i (high nibble). A fifth bit of code
i is bit i of a little-endian u32.
"""

from quantize_cli.kernel import kernel
from quantize_cli.simd import load, store


@kernel
def pack_nibbles(code, nibbles):
    """Codes (n, 32) u8 -> their low four bits (n, 16) u8."""
    for block in range(code.shape[0]):
        store(nibbles, block, 0, (load(code, block, 0) & 15) | (load(code, block, 16) & 15) << 4)


@kernel
def unpack_nibbles(nibbles, code):
    """The reverse of `pack_nibbles`."""
    for block in range(code.shape[0]):
        both = load(nibbles, block, 0)
        store(code, block, 0, both & 15)
        store(code, block, 16, both >> 4)


@kernel
def pack_fifth_bits(code, fifth_bits):
    """Codes (n, 32) u8 below 32 -> their fifth bits (n,) u32."""
    for block in range(code.shape[0]):
        found = 0
        for i in range(32):
            found |= (code[block, i] >> 4) << i
        fifth_bits[block] = found


@kernel
def add_fifth_bits(fifth_bits, code):
    """Add to codes (n, 32) u8 of four bits the fifth bits (n,) u32."""
    for block in range(code.shape[0]):
        for i in range(32):
            code[block, i] |= (fifth_bits[block] >> i & 1) << 4

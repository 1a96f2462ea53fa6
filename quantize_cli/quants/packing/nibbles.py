"""Where blocks of 32 keep codes of four and five bits.

Byte i of sixteen holds the low four bits of code i (low nibble) and of code 16 + i (high nibble). A fifth bit of code
i is bit i of a little-endian u32.
"""

import numpy as np

from quantize_cli.jit.kernel import kernel, merged
from quantize_cli.jit.simd import lane_bits, lanes_where, load, select, splat, store


@merged
def put_codes(fields, block, first, second):
    """fields (code (n, 32) u8,): a block's codes in two vectors, each in a byte of its own."""
    store(fields[0], block, 0, first)
    store(fields[0], block, 16, second)


@merged
def put_nibbles(fields, block, first, second):
    """fields (nibbles (n, 16) u8,): a block's codes in two vectors, below 16."""
    store(fields[0], block, 0, first | second << 4)


@merged
def put_five_bits(fields, block, first, second):
    """fields (nibbles (n, 16) u8, fifth bits (n,) u32): a block's codes in two vectors, below 32."""
    put_nibbles(fields, block, first & 15, second)  # of a vector's lanes only the low eight bits are stored
    put_fifth_bits(fields[1], block, first, second)


@merged
def put_fifth_bits(fifth_bits, block, first, second):
    low, high = lane_bits(first > 15), lane_bits(second > 15)
    fifth_bits[np.uint64(block)] = np.uint32(low) | np.uint32(high) << np.uint32(16)


@kernel
def pack_nibbles(code, nibbles):
    """Codes (n, 32) u8 -> their low four bits (n, 16) u8."""
    for block in range(code.shape[0]):
        put_nibbles((nibbles,), block, load(code, block, 0) & 15, load(code, block, 16))


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
        put_fifth_bits(fifth_bits, block, load(code, block, 0), load(code, block, 16))


@kernel
def add_fifth_bits(fifth_bits, code):
    """Add to codes (n, 32) u8 of four bits the fifth bits (n,) u32."""
    none, sixteen = splat(np.int32(0)), splat(np.int32(16))
    for block in range(code.shape[0]):
        for start in range(0, 32, 16):
            fifth = lanes_where(np.uint16(fifth_bits[block] >> np.uint32(start)))
            store(code, block, start, load(code, block, start) | select(fifth, sixteen, none))

"""Codes in blocks of 32 whose low four bits are nibbles: the first sixteen codes in the low ones, the last in the high.

Each function makes one that takes the addresses of four blocks and gives their first sixteen codes, and their last.
"""

from typing import Any

import numpy as np

from quantize_cli.dots.interface.dot import offsets
from quantize_cli.dots.kernels.products import byte_table
from quantize_cli.jit.kernel import merged
from quantize_cli.jit.simd.addresses import int_at, join_quarters
from quantize_cli.jit.simd.packed import byte_where

NIBBLES = np.int32(0x0F0F0F0F)
"""The low four bits of each byte."""
_SIXTEEN, _LOW = np.int32(16), np.int64(0xFFFF)


def nibbles_of(block: np.dtype) -> Any:
    """Codes of four bits, Q4_0 and Q4_1."""
    at = offsets(block).nibbles

    @merged
    def codes_of(a, b, c, d):
        both = join_quarters(a + at, b + at, c + at, d + at)
        return both & NIBBLES, (both >> 4) & NIBBLES

    return codes_of


def points_of(block: np.dtype, points: tuple[int, ...]) -> Any:
    """Codes that name one of sixteen unsigned numbers, IQ4_NL and MXFP4."""
    nibbles, point = nibbles_of(block), byte_table(points)

    @merged
    def codes_of(a, b, c, d):
        first, last = nibbles(a, b, c, d)
        return point(first), point(last)

    return codes_of


def five_bits_of(block: np.dtype) -> Any:
    """Codes of five bits, Q5_0 and Q5_1: bit i of a u32 belongs to code i."""
    nibbles, at = nibbles_of(block), offsets(block).fifth_bits

    @merged
    def codes_of(a, b, c, d):
        first, last = nibbles(a, b, c, d)
        first_fifth, last_fifth = _fifth_bits(a + at, b + at, c + at, d + at)
        return first | first_fifth, last | last_fifth

    return codes_of


@merged
def _fifth_bits(a, b, c, d):
    """Addresses of four u32 -> what to add to the first sixteen codes of each block, and to the last."""
    a, b, c, d = np.int64(int_at(a)), np.int64(int_at(b)), np.int64(int_at(c)), np.int64(int_at(d))
    first = (a & _LOW) | (b & _LOW) << 16 | (c & _LOW) << 32 | d << 48
    last = (a >> 16 & _LOW) | (b >> 16 & _LOW) << 16 | (c >> 16 & _LOW) << 32 | (d >> 16) << 48
    return byte_where(first, _SIXTEEN), byte_where(last, _SIXTEEN)

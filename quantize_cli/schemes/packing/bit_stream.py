"""Codes of 1 to 8 bits in words of 32, the lowest bits first: code j lies in bits j * bits .. (j + 1) * bits - 1.

Widths that do not divide 32 cross from one word to the next.
"""

import numpy as np

WORD_BITS = 32


def unpack(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` codes of each row: words (rows, n) of 32 bits -> (rows, count) u8."""
    first, offset = np.divmod(np.arange(count) * bits, WORD_BITS)
    unsigned = np.ascontiguousarray(words).view(np.uint32)
    codes = unsigned[:, first] >> offset.astype(np.uint32)
    crossing = np.flatnonzero(offset + bits > WORD_BITS)
    if len(crossing):
        codes[:, crossing] |= unsigned[:, first[crossing] + 1] << (WORD_BITS - offset[crossing]).astype(np.uint32)
    return (codes & np.uint32((1 << bits) - 1)).astype(np.uint8)

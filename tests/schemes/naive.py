"""Slow twins of every layout, written from the published formulas: loops over single codes."""

from collections.abc import Callable, Sequence

import numpy as np


def pack_words(codes: Sequence[int], bits: int) -> list[int]:
    """Codes one after the other as a long number, cut into words of 32 bits."""
    whole = sum(code << (bits * j) for j, code in enumerate(codes))
    return [whole >> (32 * i) & 0xFFFFFFFF for i in range(len(codes) * bits // 32)]


def packed_down(codes: np.ndarray, bits: int) -> np.ndarray:
    """(in, out) -> (in * bits / 32, out) i32."""
    return np.array([pack_words([int(c) for c in column], bits) for column in codes.T], np.uint32).T.view(np.int32)


def packed_across(codes: np.ndarray, bits: int) -> np.ndarray:
    """(groups, out) -> (groups, out * bits / 32) i32."""
    return np.array([pack_words([int(c) for c in row], bits) for row in codes], np.uint32).view(np.int32)


def affine(codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, group: Callable[[int], int]) -> np.ndarray:
    """Codes (in, out), zeros and scales (groups, out) -> weights (out, in) f32."""
    columns, rows = codes.shape
    weights = np.empty((rows, columns), np.float32)
    for o in range(rows):
        for i in range(columns):
            g = group(i)
            weights[o, i] = np.float32(int(codes[i, o]) - int(zeros[g, o])) * np.float32(scales[g, o])
    return weights


def e2m1(code: int) -> float:
    """A float of four bits: sign, two bits of exponent, one of mantissa."""
    sign, exponent, mantissa = -1.0 if code & 8 else 1.0, code >> 1 & 3, code & 1
    return sign * (mantissa / 2 if exponent == 0 else 2.0 ** (exponent - 1) * (1 + mantissa / 2))

"""Sums of products in the order of their terms, with nothing done at once."""

from fractions import Fraction

import numpy as np


def fused(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """a * b + c rounded once to float32, ties to even."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.int32)) & 1))


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left (m, k) times right (k, n)."""
    out = np.zeros((len(left), right.shape[1]), left.dtype)
    for i in range(len(left)):
        for j in range(right.shape[1]):
            for k in range(len(right)):
                a, b, c = left[i, k], right[k, j], out[i, j]
                out[i, j] = fused(a, b, c) if left.dtype == np.float32 else c + a * b
    return out


def bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to bfloat16, ties to even, numbers less than 2^-56 to nought."""
    step = np.exp2(np.floor(np.log2(np.maximum(np.abs(x.astype(np.float64)), 2.0**-126))) - 7)
    rounded: np.ndarray = np.where(np.abs(x) < 2.0**-56, 0, np.rint(x / step) * step).astype(np.float32)
    return rounded


def gram(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left^T right (m, n) f64, of each two tokens the second first, 256 products at a time in float32."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for start in range(0, len(left), 256):
        order = [token ^ 1 for token in range(start, min(start + 256, len(left) + 1)) if token ^ 1 < len(left)]
        total += product(bfloat16(left[order]).T, bfloat16(right[order]))
    return total

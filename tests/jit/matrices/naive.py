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

"""What the inputs of matrices are like: second moments, of the model as it was and of what it has become so far."""

import numpy as np

from quantize_cli.calibration.statistics.shrinkage import LeftOut
from quantize_cli.jit.matrices import Packed, add_packed_gram, pack

_LONGEST = 1000.0
"""Tokens count as if their squared length were at most so many times the median one: attention sinks are longer by far,
and few, so that moments would be of them alone."""
_HELD_BACK = 7
"""One token in so many is kept as it is, to tell how far moments can be trusted: a prime, so that these stand at all
positions of chunks."""
_MOST_HELD_BACK = 4096


class Moments:
    """Sums over tokens of products of what the quantized model gives a matrix with itself and with what the float does.

    X and F being the inputs in the quantized and in the float model, Y and G the streams their products are added to.
    """

    def __init__(self, columns: int, threads: int = 1) -> None:
        self.count, self.threads = 0, threads
        self.second = np.zeros((columns, columns))
        """X^T X."""
        self.shift: np.ndarray | None = None
        """(F - X)^T X (columns, columns); None if there are no F for the same tokens."""
        self.residual: np.ndarray | None = None
        """(G - Y)^T X (rows, columns); None as before, or if there is no stream."""
        self._held_back: list[np.ndarray] = []
        self._missing: list[np.ndarray] = []

    def add(self, x: np.ndarray, original: np.ndarray | None = None, residual: np.ndarray | None = None) -> None:
        """Count in X and F (n, columns) f32 of the same tokens, and G - Y (n, rows) f32."""
        if not len(x):
            return
        weights = _weights(x)
        if weights is not None:
            x = x * weights
            original = None if original is None else original * weights
            residual = None if residual is None else residual * weights
        held_back = slice(-self.count % _HELD_BACK, None, _HELD_BACK)
        if self.count >= _HELD_BACK * _MOST_HELD_BACK:
            held_back = slice(0)
        self._held_back.append(x[held_back].copy())
        self.count += len(x)
        packed = pack(x)
        add_packed_gram(self.second, packed, packed, self.threads)
        if original is not None:
            missing = original - x
            self._missing.append(missing[held_back].copy())
            self.shift = self._added(self.shift, missing, packed)
            if residual is not None:
                self.residual = self._added(self.residual, residual, packed)

    def left_out(self) -> LeftOut:
        """The tokens that were held back, spread evenly over all, and the sums without them."""
        if not self._held_back:
            return LeftOut(self.second, np.empty((0, len(self.second)), np.float32))
        tokens = np.concatenate(self._held_back)
        packed = pack(tokens)
        moments = self.second.copy()
        add_packed_gram(moments, pack(-tokens), packed, self.threads)
        if self.shift is None:
            return LeftOut(moments, tokens)
        missing, shift = np.concatenate(self._missing), self.shift.copy()
        add_packed_gram(shift, pack(-missing), packed, self.threads)
        return LeftOut(moments, tokens, shift, missing)

    def _added(self, total: np.ndarray | None, left: np.ndarray, right: Packed) -> np.ndarray:
        if total is None:
            total = np.zeros((left.shape[1], right.columns))
        add_packed_gram(total, pack(left), right, self.threads)
        return total


def _weights(x: np.ndarray) -> np.ndarray | None:
    """What activations (n, columns) f32 are multiplied with so that none is too long, (n, 1) f32; None if none is."""
    squares = np.square(x).sum(axis=1, dtype=np.float64)
    longest = _LONGEST * np.median(squares)
    if not squares.max() > longest:
        return None
    weights: np.ndarray = np.sqrt(longest / np.maximum(squares, longest)).astype(np.float32)[:, None]
    return weights

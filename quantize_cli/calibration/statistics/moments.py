"""What the inputs of matrices are like: second moments, of the model as it was and of what it has become so far."""

import numpy as np

from quantize_cli.jit.matrices import Packed, add_packed_gram, pack


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

    def add(self, x: np.ndarray, original: np.ndarray | None = None, residual: np.ndarray | None = None) -> None:
        """Count in X and F (n, columns) f32 of the same tokens, and G - Y (n, rows) f32."""
        self.count += len(x)
        packed = pack(x)
        add_packed_gram(self.second, packed, packed, self.threads)
        if original is not None:
            self.shift = self._added(self.shift, original - x, packed)
            if residual is not None:
                self.residual = self._added(self.residual, residual, packed)

    def _added(self, total: np.ndarray | None, left: np.ndarray, right: Packed) -> np.ndarray:
        if total is None:
            total = np.zeros((left.shape[1], right.columns))
        add_packed_gram(total, pack(left), right, self.threads)
        return total

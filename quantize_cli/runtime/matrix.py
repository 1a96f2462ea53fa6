"""A weight matrix that is applied to activations, decoded once or at every use."""

import numpy as np

from quantize_cli.quants import decode
from quantize_cli.runtime.activations import rounded
from quantize_cli.tensor import Tensor

_BLOCK = 1 << 23
"""Weights decoded at once when a matrix is not held: 32 MiB of float32."""


class Matrix:
    """The weights of `tensor` (rows, columns), float32 in memory from the first use on if `held`."""

    def __init__(self, tensor: Tensor, held: bool) -> None:
        self.tensor = tensor
        self._held = held
        self._weights: np.ndarray | None = None

    def apply(self, activations: np.ndarray) -> np.ndarray:
        """Activations (n, columns) f32 -> (n, rows) f32: each row's product with them, rounded as engines round."""
        activations = rounded(activations, self.tensor.type)
        if self._held:
            product: np.ndarray = activations @ self._decoded().T
            return product
        rows, columns = self.tensor.shape
        step = max(1, _BLOCK // columns)
        product = np.empty((len(activations), rows), np.float32)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            np.matmul(activations, self._read(start, stop).T, out=product[:, start:stop])
        return product

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows `indices` (n,) as (n, columns) f32; only those are decoded if the matrix is not held."""
        if not self._held:
            different, place = np.unique(indices, return_inverse=True)
            return np.concatenate([self._read(int(row), int(row) + 1) for row in different])[place]
        wanted: np.ndarray = self._decoded()[indices]
        return wanted

    def _decoded(self) -> np.ndarray:
        if self._weights is None:
            self._weights = self._read(0, self.tensor.row_count)
        return self._weights

    def _read(self, start: int, stop: int) -> np.ndarray:
        return decode(self.tensor.type, self.tensor.read(start, stop))

"""The keys and values of positions already processed."""

import numpy as np

from quantize_cli.runtime.hyperparameters import Hyperparameters


class Cache:
    """Room for `capacity` positions of `sequences` independent texts, allocated once, in float32."""

    def __init__(self, hyperparameters: Hyperparameters, capacity: int, sequences: int = 1) -> None:
        sizes = hyperparameters
        shape = (sizes.layers, sequences, sizes.key_value_heads, capacity, sizes.head_width)
        self._keys = np.empty(shape, np.float32)
        self._values = np.empty(shape, np.float32)
        self.length = 0
        """Positions filled so far, the same for every sequence."""

    @property
    def capacity(self) -> int:
        return self._keys.shape[3]

    @property
    def sequences(self) -> int:
        return self._keys.shape[1]

    def store(self, layer: int, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put the next positions' keys and values, each (sequences, n, heads, head width), behind those stored.

        Gives views of all of them as (sequences, heads, positions, head width). The positions count as filled
        only after `advance`, since every layer stores the same ones.
        """
        stop = self.length + keys.shape[1]
        self._keys[layer, :, :, self.length : stop] = keys.swapaxes(1, 2)
        self._values[layer, :, :, self.length : stop] = values.swapaxes(1, 2)
        return self._keys[layer, :, :, :stop], self._values[layer, :, :, :stop]

    def advance(self, positions: int) -> None:
        self.length += positions

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` positions."""
        self.length = min(self.length, length)

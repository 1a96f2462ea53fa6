"""The keys and values of positions already processed."""

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.machine import memory_nbytes
from quantize_cli.runtime.hyperparameters import Hyperparameters

_LANES = 16


class Cache:
    """Room for `capacity` positions of `sequences` independent texts, allocated once, in float32.

    Keys lie transposed, so that sixteen positions are neighbours: see kernels/keep.py.
    """

    def __init__(self, hyperparameters: Hyperparameters, capacity: int, sequences: int = 1) -> None:
        sizes = hyperparameters
        self.capacity, self.sequences = capacity, sequences
        room = -(-capacity // _LANES) * _LANES
        heads, width = sequences * sizes.key_value_heads, sizes.head_width
        _refuse_more_than_there_is(capacity, 8 * sizes.layers * heads * width * room)
        self.keys = np.zeros((sizes.layers, heads * width, room), np.float32)
        self.values = np.zeros((sizes.layers, heads * room, width), np.float32)
        self.cell = np.zeros(1, np.int64)
        """The length, where operations read it."""

    @property
    def length(self) -> int:
        """Positions filled so far, the same for every sequence."""
        return int(self.cell[0])

    def advance(self, positions: int) -> None:
        self.cell += positions

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` positions."""
        self.cell[0] = min(self.length, length)


def _refuse_more_than_there_is(positions: int, nbytes: int) -> None:
    """InputError for keys and values that fill the memory: numpy would raise, or the system end the process."""
    memory = memory_nbytes()
    if memory is not None and nbytes > memory:
        raise InputError(
            f"{positions} positions take {nbytes} bytes for keys and values, the machine has {memory}",
            hint="fewer --tokens, or a smaller --ctx",
        )

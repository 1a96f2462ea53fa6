"""Sines and cosines of the positions that a recorded pass is at."""

from collections.abc import Sequence

import numpy as np

from quantize_cli.runtime.rotary import Rotary


class RotaryTable:
    """How a layer's vectors turn: sines and cosines (n, pairs) f32 of the n positions that `fill` is given."""

    def __init__(self, rotary: Rotary, count: int) -> None:
        self.rotary = rotary
        self.cosines, self.sines = np.empty((2, count, rotary.unscaled.size), np.float32)

    def fill(self, positions: np.ndarray, room: int) -> None:
        turns = self.rotary.turns(positions, room)
        self.cosines[:], self.sines[:] = turns.real, turns.imag


def fill_tables(turns: Sequence[RotaryTable], positions: np.ndarray, room: int) -> None:
    """Fill tables, each once, for these positions of a context of `room`."""
    for table in set(turns):
        table.fill(positions, room)

"""Sines and cosines of the positions that a recorded pass is at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.rotary import Rotary


@dataclass
class RotaryTable:
    """How a layer's vectors turn: sines and cosines (n, pairs) f32 of the positions at hand."""

    rotary: Rotary
    cosines: np.ndarray
    sines: np.ndarray

    def place(self, positions: np.ndarray, room: int) -> None:
        turns = self.rotary.turns(positions, room)
        self.cosines[:], self.sines[:] = turns.real, turns.imag


def fill_tables(turns: Sequence[RotaryTable], positions: np.ndarray, room: int) -> None:
    """Set all to these positions, of `room` in all."""
    for each in {id(each): each for each in turns}.values():
        each.place(positions, room)


def new_table(rotary: Rotary, count: int) -> RotaryTable:
    shape = count, rotary.unscaled.size
    return RotaryTable(rotary, np.empty(shape, np.float32), np.empty(shape, np.float32))

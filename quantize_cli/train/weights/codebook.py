"""What weights may be, in units of their step: levels one by one, or points of a lattice several at once."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.train.weights.group_scales import AffineScales, Stored


class Codebook(Protocol):
    """The levels that a type has. A level is counted in parts of a step, so that it is a whole number of a byte."""

    parts: int
    """Of a step: 1 or 8."""
    reach: tuple[float, float]
    """Between which weights, in parts of a step, nothing is cut off."""
    gap: float
    """The mean distance of neighbouring levels of a weight, in steps."""

    def nearest(self, scaled: Tensor) -> Tensor:
        """Of weights (groups, group) in parts of a step, the levels i8. May change what it is given."""

    def within(self, scaled: Tensor, level: Tensor, margin: float) -> Tensor:
        """Weights (groups, group), moved no more than needed to have these levels as their nearest.

        They are as far from the levels as `margin` at most, where 0.5 is where two levels are as near.
        """

    def pack(self, type_: GgmlType, level: Tensor, scales: Stored, minima: Stored) -> np.ndarray:
        """The bytes of a file, (rows, row bytes) u8, for levels (rows, columns) i8."""


@dataclass(frozen=True)
class CodedMatrix:
    """What a file holds of a matrix, as training changes it."""

    type: GgmlType
    codebook: Codebook
    scales: AffineScales
    level: Tensor
    """(rows, columns) i8."""

"""What types have in common whose weights are levels or points times a scale, less or more a minimum.

Whoever decides codes in another way than the reference works on these numbers, whatever the type.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The numbers of a type that codes each weight on its own: its levels, and what its codes may be.

    weight = scale * scale_code * levels[code] + sign * minimum * minimum_code
    """

    levels: np.ndarray = field(repr=False)
    """(n,) f32, ascending: what the codes from `first` on stand for, before they are scaled."""
    group: int
    """Weights that share a scale, and a minimum."""
    scale_codes: tuple[int, int] | None = None
    """The least and the largest; None where the scale of a group is stored as it is."""
    minimum_codes: tuple[int, int] | None = None
    sign: int = 0
    """Of the minimum; 0 where there is none."""
    first: int = 0
    """The code of the lowest level."""

    @property
    def is_even(self) -> bool:
        """Whether neighbouring levels are one apart."""
        return bool((np.diff(self.levels) == 1).all())


def with_parity_sign(sign: np.ndarray) -> np.ndarray:
    """Seven bits of signs, u1, and the eighth that makes the number of ones even."""
    odd = sign ^ sign >> 4
    odd ^= odd >> 2
    found: np.ndarray = sign | (odd ^ odd >> 1) << 7
    return found


def even(low: int, high: int) -> np.ndarray:
    """The whole numbers from low to high as levels."""
    return np.arange(low, high + 1, dtype=np.float32)


class Signs(IntEnum):
    """What is stored of the signs of eight weights beside their points."""

    NONE = 0
    """Nothing: points have signs of their own."""
    EVEN = 1
    """Seven: the eighth makes the number of negative ones even."""
    ALL = 2


@dataclass(frozen=True)
class Lattice:
    """The numbers of a type whose codes stand for several neighbouring weights at once.

    weight = scale * (2 * scale_code + 1) * point * sign
    """

    points: np.ndarray = field(repr=False)
    """(n, 4 or 8) f32: all that some neighbours may be before they are scaled; n a multiple of 16."""
    group: int
    """Weights that share a scale."""
    scale_codes: tuple[int, int]
    signs: Signs
    choices: int = 1
    """Of the points a run may take: the n / choices that its group has settled for, where that is more than one."""

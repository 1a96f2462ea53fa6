"""What types have in common whose weights are levels times a scale, less or more a minimum.

    weight = scale * scale_code * levels[code] + sign * minimum * minimum_code

Whoever decides codes in another way than the reference works on these numbers, whatever the type.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Grid:
    """The numbers of a type: its levels, and what its codes may be."""

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


def even(low: int, high: int) -> np.ndarray:
    """The whole numbers from low to high as levels."""
    return np.arange(low, high + 1, dtype=np.float32)

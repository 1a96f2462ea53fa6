"""Sources of rows that tests make up."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Made:
    """What a function gives."""

    rows: Callable[[int, int], np.ndarray]

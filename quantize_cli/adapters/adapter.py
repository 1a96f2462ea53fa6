"""An adapter as a value: for each matrix that it changes, two of low rank whose product is added (Hu et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class LowRankTerm:
    """What is added to a matrix (rows, columns): alpha / rank times b a."""

    a: np.ndarray
    """(rank, columns) f32."""
    b: np.ndarray
    """(rows, rank) f32, the rows in the order of a GGUF file."""
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.a)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.b), self.a.shape[1]


@dataclass(frozen=True, eq=False)
class Adapter:
    """Terms for matrices of one model."""

    architecture: str
    """llama.cpp's name for what it was trained on."""
    terms: Mapping[str, LowRankTerm] = field(repr=False)
    """By the name of the tensor in a GGUF file."""
    origin: str = "adapter"
    """The file it was read from, for messages."""

    def times(self, factor: float) -> "Adapter":
        """The same with each term multiplied."""
        terms = {name: replace(term, alpha=term.alpha * factor) for name, term in self.terms.items()}
        return replace(self, terms=terms)

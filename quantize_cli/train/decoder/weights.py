"""Where a decoder's matrices come from: a function of their names, which may also form their products itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.nn import functional

Weights = Callable[[str], Tensor]
"""A stored matrix by name -> (rows, columns), all its rows; of a stack of experts (experts * rows, columns).

Weights that are also `Multiplying` are asked for products instead, except for what is looked up by rows: the token
embedding, and learned positions.
"""


@dataclass(frozen=True)
class Rows:
    """Some rows of a stored matrix: all of them, or one expert's of a stack."""

    name: str
    first: int
    count: int

    def of(self, whole: Tensor) -> Tensor:
        """These rows of the stored matrix `whole`."""
        return whole if len(whole) == self.count else whole[self.first : self.first + self.count]


@runtime_checkable
class Multiplying(Protocol):
    """Weights that form their products, to add terms of low rank, or not to keep a matrix for the backward pass."""

    def __call__(self, name: str) -> Tensor:
        """As `Weights`."""

    def multiply(self, rows: Rows, x: Tensor) -> Tensor:
        """Activations (..., columns) -> (..., rows.count), without the bias."""


def multiply(rows: Rows, x: Tensor, weights: Weights) -> Tensor:
    """Activations (..., columns) times some rows of a matrix: (..., rows.count)."""
    if isinstance(weights, Multiplying):
        return weights.multiply(rows, x)
    return functional.linear(x, rows.of(weights(rows.name)))

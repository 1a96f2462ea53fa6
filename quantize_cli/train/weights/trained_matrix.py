"""What a matrix that is trained offers, whatever its type."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

import numpy as np
from torch import Tensor, nn

from quantize_cli.formats.ggml import GgmlType


class Role(Enum):
    """What parameters are, which decides how fast they learn."""

    WEIGHTS = "weights"
    """Float weights that are rounded to codes in each forward pass."""
    SCALES = "scales"
    """Scales, minima, and what they are multiplied by."""
    ADAPTERS = "adapters"
    """Low-rank matrices beside frozen weights."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate."""

    parameters: tuple[nn.Parameter, ...]
    role: Role
    unit: float
    """The natural size of a change: learning rates are multiplied by it. Of weights, the mean step of their grid."""


class TrainedMatrix(nn.Module, ABC):
    """A matrix (rows, columns) f32 that is trained as its type will hold it.

    `forward` gives what a decoder will make of the file, so that the file is as good as the model that was trained.
    """

    type: GgmlType  # type: ignore[assignment]  # takes the name of a cast of modules, which matrices do not have
    shape: tuple[int, int]

    @abstractmethod
    def forward(self) -> Tensor:
        """(rows, columns) f32, what a decoder makes of `blocks()`; gradients reach the parameters."""

    @abstractmethod
    def blocks(self) -> np.ndarray:
        """What the file holds, (rows, row bytes) u8."""

    @abstractmethod
    def groups(self) -> tuple[ParameterGroup, ...]:
        """All that can be trained, by role."""

    @abstractmethod
    def latent(self) -> Tensor:
        """(rows, columns) f32, the float weights behind the codes, for a float checkpoint."""

    @abstractmethod
    def freeze_codes(self) -> None:
        """Train scales alone from now on, `groups()` anew: the codes stay what they are. Frozen twice is once."""

    @abstractmethod
    def thaw_codes(self) -> None:
        """Let codes follow the float weights again, which are moved to where they give the codes there are."""


def magnitude(values: Tensor) -> float:
    """The mean of the absolute values."""
    return float(values.detach().abs().mean())

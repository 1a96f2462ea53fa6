"""What a method is: each file of `calibration` holds one as `METHOD`, with the functions that it offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.source import Model
from quantize_cli.pipeline.plan import Importance

if TYPE_CHECKING:
    from quantize_cli.calibration.statistics.inputs import Inputs


class Fold(Protocol):
    """Changes a model so that it is the same function and rounds better."""

    def __call__(
        self, model: Model, chunks: np.ndarray, types: Mapping[str, GgmlType], report: Callable[[int], None]
    ) -> Model:
        """By a text, chunks (n, context) of tokens; `types` are what tensors will be rounded to, by name.

        `report` is told of each layer done.
        """


class RoundRows(Protocol):
    """Decides the codes of a matrix by what it is given to multiply."""

    def __call__(self, type_: GgmlType, wanted: np.ndarray, inputs: "Inputs", /) -> np.ndarray:
        """Weights (rows, n) f32 and their inputs -> rows of a file, (rows, row bytes) u8."""


class Encode(Protocol):
    """Decides the codes of rows on their own."""

    def __call__(self, type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None, /) -> np.ndarray:
        """Weights (rows, n) f32, importance (n,) f32 -> rows of a file, (rows, row bytes) u8."""


@dataclass(frozen=True)
class Method:
    """What a method does, as one of these functions."""

    fold: Fold | None = None
    """Needs a text."""
    round_rows: RoundRows | None = None
    """Needs a text."""
    encode: Encode | None = None
    """Needs no text."""
    importance: Callable[[Model, Path], tuple[Importance, dict[str, Value]]] | None = None
    """What errors in each column cost, from a file; without one, a text says it."""

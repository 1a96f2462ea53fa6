"""What a method is: each file of `calibration` holds one as `METHOD`, with the functions that it offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.source import Model
from quantize_cli.pipeline.plan import Importance

if TYPE_CHECKING:
    from quantize_cli.calibration.statistics.inputs import Inputs


Fold = Callable[[Model, np.ndarray, Mapping[str, GgmlType], Callable[[int], None]], Model]
"""Model, chunks (n, context) of tokens, types by tensor name, and what is called after each layer -> a model that is
the same function and rounds better."""
RoundRows = Callable[[GgmlType, np.ndarray, "Inputs"], np.ndarray]
"""Type, weights (rows, n) f32 and what they multiply -> rows of a file, (rows, row bytes) u8."""
Encode = Callable[[GgmlType, np.ndarray, np.ndarray | None], np.ndarray]
"""Type, weights (rows, n) f32 and importance (n,) f32 -> rows of a file, (rows, row bytes) u8."""
ReadImportance = Callable[[Model, Path], tuple[Importance, dict[str, Value]]]
"""Model and file -> what errors in each column cost, and metadata on its origin."""


@dataclass(frozen=True)
class Method:
    """What a method does, as one of these functions."""

    fold: Fold | None = None
    """Needs a text."""
    round_rows: RoundRows | None = None
    """Needs a text."""
    encode: Encode | None = None
    """Needs no text."""
    importance: ReadImportance | None = None
    """Where no file gives it, a text does."""

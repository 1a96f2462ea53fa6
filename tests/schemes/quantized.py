"""Checkpoints as other tools quantize them, with the weights that they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor
from tests import checkpoints

MODULE = "model.layers.0.mlp.up_proj"
TARGET = "blk.0.ffn_up.weight"
ROWS, COLUMNS = 96, 64
"""Of that matrix in tests/checkpoints.py's llama."""


@dataclass(frozen=True)
class Stored:
    """One matrix as a scheme stores it."""

    parts: Mapping[str, np.ndarray]
    """By the end of the name: ".qweight"."""
    weights: np.ndarray
    """What it stands for, (rows, columns) f32."""


def build(directory: Path, parts: Mapping[str, np.ndarray], settings: Mapping[str, Any] | None, **more: Any) -> Path:
    """A llama of which one matrix is stored as these parts."""
    tensors = {f"{MODULE}.weight": None, **{MODULE + ending: values for ending, values in parts.items()}}
    config = {} if settings is None else {"quantization_config": settings}
    return checkpoints.build("llama", directory, tensors=tensors, config=config, **more)


def matrix(model: Model, name: str = TARGET) -> Tensor:
    return next(tensor for tensor in model.tensors if tensor.name == name)


def opened(directory: Path, parts: Mapping[str, np.ndarray], settings: Mapping[str, Any] | None) -> Tensor:
    """That matrix, as we read it."""
    return matrix(open_model(build(directory, parts, settings)))


def read_in_parts(tensor: Tensor, chunk: int = 7) -> np.ndarray:
    """All rows, some at a time, from ranges that fit no layout's words or blocks."""
    parts = [tensor.read(at, min(at + chunk, tensor.row_count)) for at in range(0, tensor.row_count, chunk)]
    return np.concatenate(parts)

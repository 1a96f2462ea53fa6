"""pack: blocks as they go into the file, refused where they would stand for NaN or infinity."""

from typing import NoReturn

import numpy as np

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE
from quantize_cli.model.tensor import DAMAGED_HINT
from quantize_cli.pipeline.plan import Step

_BF16_END = 3.39e38
"""What is smaller is no infinity in bfloat16."""


def copied(step: Step, stored: np.ndarray, first: int) -> np.ndarray:
    """Stored rows that stay as they are; `first` is the number of the first. InputError where they are damaged."""
    if trouble := quants.trouble(step.type, stored, first):
        raise InputError(f"{step.tensor.origin}: {trouble}", hint=DAMAGED_HINT)
    return np.ascontiguousarray(stored)


def refuse_overflow(step: Step, blocks: np.ndarray, first: int) -> None:
    """InputError for rows of which some weight became infinite or NaN, as their type's numbers end too early."""
    if not (position := quants.first_not_finite(step.type, blocks)):
        return
    row, width = first + position[0], BLOCK_SHAPE[step.type].weights
    refuse_beyond(step, row, slice(position[1] * width, (position[1] + 1) * width))


def refuse_beyond(step: Step, row: int, columns: slice) -> NoReturn:
    """Say which weight is too large, the largest of a row's columns, and what holds it."""
    weights = quants.decode(step.tensor.type, step.tensor.read(row, row + 1))[0, columns]
    column = int(np.abs(weights).argmax())
    wide = "bf16" if abs(weights[column]) < _BF16_END else "f32"
    raise InputError(
        f"{step.tensor.origin}: {weights[column]:g} at row {row}, column {(columns.start or 0) + column} is more than "
        f"{step.type.name.lower()} holds",
        hint=f"--tensor '{step.tensor.name}={wide}' keeps it, or --type {wide} everything",
    )

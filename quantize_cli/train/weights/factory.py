"""The trained matrix of any type."""

import numpy as np

from quantize_cli.calibration.rounding.level_codes import codes_of_blocks, has_grid
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.train.weights.grid_matrix import MARGIN, GridMatrix
from quantize_cli.train.weights.trained_matrix import TrainedMatrix


def trained_matrix(type_: GgmlType, blocks: np.ndarray, weights: np.ndarray, margin: float = MARGIN) -> TrainedMatrix:
    """What starts from a file's blocks (rows, row bytes) u8, and from the float weights (rows, columns) f32 behind.

    Stacked matrices are one of all their rows. `margin` is how far from its level a float weight may lie at first.
    """
    if has_grid(type_):
        return GridMatrix(codes_of_blocks(type_, blocks), weights, margin)
    raise ValueError(f"{type_.name.lower()} cannot be trained")

"""The trained matrix of any type."""

import numpy as np

from quantize_cli.calibration.rounding import level_codes, vector_codes
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.train.weights import levels, points
from quantize_cli.train.weights.scaled_matrix import MARGIN, ScaledMatrix
from quantize_cli.train.weights.searched_matrix import SearchedMatrix
from quantize_cli.train.weights.trained_matrix import TrainedMatrix


def trained_matrix(type_: GgmlType, blocks: np.ndarray, weights: np.ndarray, margin: float = MARGIN) -> TrainedMatrix:
    """What starts from a file's blocks (rows, row bytes) u8, and from the float weights (rows, columns) f32 behind.

    Stacked matrices are one of all their rows. `margin` is how far from its level a float weight may lie at first.
    """
    if level_codes.has_grid(type_):
        return ScaledMatrix(levels.of_codes(level_codes.codes_of_blocks(type_, blocks)), weights, margin)
    if vector_codes.has_lattice(type_):
        return ScaledMatrix(points.of_codes(vector_codes.codes_of_blocks(type_, blocks)), weights, margin)
    return SearchedMatrix(type_, blocks, weights)

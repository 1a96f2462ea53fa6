"""A better search in the same format: the reference's choice, improved as long as the weighted squared error falls."""

import numpy as np

from quantize_cli import quants
from quantize_cli.calibration.rounding import windows
from quantize_cli.formats.ggml import GgmlType


def encode(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Weights (rows, columns) f32 and what an error in each column costs -> rows of a file, (rows, row bytes) u8.

    Never worse than the reference by the sum of importance times squared errors, with importance one for None. A type
    without grid or lattice is left as the reference has it.
    """
    if not windows.has_codes(type_):
        return quants.encode(type_, weights, importance)
    quants.refuse_without(importance, type_)
    parts, error = windows.without_feedback(type_, weights, importance)
    costs = np.ones(weights.shape[1], np.float32) if importance is None else importance
    for codes, window in zip(parts, windows.windows(weights.shape[1], type_), strict=True):
        left = np.ascontiguousarray(error[:, window])
        codes.descend(left * costs[window], np.diag(costs[window]), left, windows.ALL)
    return windows.pack_windows(parts)

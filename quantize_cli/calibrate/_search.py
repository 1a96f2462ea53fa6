"""A better search in the same format: the reference's choice, improved as long as the weighted squared error falls."""

import numpy as np

from formats.ggml import GgmlType
from quantize_cli import quants
from quantize_cli.calibrate import _rounding


def encode(type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Weights (rows, columns) f32 and what an error in each column costs -> rows of a file, (rows, row bytes) u8.

    Never worse than the reference by the sum of importance times squared errors, with importance one for None. A type
    without grid or lattice is left as the reference has it.
    """
    if not _rounding.has_codes(type_):
        return quants.encode(type_, weights, importance)
    quants.refuse_without(importance, type_)
    parts, error = _rounding.alone(type_, weights, importance)
    costs = np.ones(weights.shape[1], np.float32) if importance is None else importance
    for codes, window in zip(parts, _rounding.windows(weights.shape[1], type_), strict=True):
        left = np.ascontiguousarray(error[:, window])
        _rounding.improve_window(codes, left * costs[window], np.diag(costs[window]), left, _rounding.ALL)
    return _rounding.packed(parts)

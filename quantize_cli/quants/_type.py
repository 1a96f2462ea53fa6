"""What a quantization type is: functions over plain arrays, and the way to find one by its GGML number."""

import ml_dtypes
import numpy as np

from formats.ggml import GgmlType


def decode(type_: GgmlType, stored: np.ndarray) -> np.ndarray:
    """Rows as `Tensor.read` gives them -> float32 weights (rows, columns)."""
    if type_ in (GgmlType.F32, GgmlType.F16, GgmlType.BF16):
        return stored.astype(np.float32)
    raise NotImplementedError

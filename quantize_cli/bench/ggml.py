"""ggml's own quantizers, where the xllamacpp wheel carries them: called through ctypes, to compare with."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from quantize_cli.formats.ggml import GgmlType


@cache
def library() -> ctypes.CDLL | None:
    """llama.cpp's shared library, or None where xllamacpp is not installed."""
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        return None
    loaded = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("xllamacpp*.so"))))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    loaded.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    return loaded


def quantize(
    reference: ctypes.CDLL, type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None, stored: np.ndarray
) -> None:
    """Weights (rows, columns) f32, contiguous -> what ggml_quantize_chunk writes, in stored (rows, row bytes) u8."""
    rows, columns = weights.shape
    costs = None if importance is None else importance.ctypes.data
    reference.ggml_quantize_chunk(type_, weights.ctypes.data, stored.ctypes.data, 0, rows, columns, costs)

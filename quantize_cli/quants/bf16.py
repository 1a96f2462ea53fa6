"""BF16: the upper half of a float32, 2 bytes; rounded to nearest, ties to even (ggml_compute_fp32_to_bf16)."""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.interface.type import QuantType

BLOCK = np.dtype("<u2")


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size, BLOCK)
    encode(weights, importance, codes)
    return codes


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    _encode(weights.reshape(-1).view(np.uint32), blocks)


def pack(codes: np.ndarray) -> np.ndarray:
    """The codes themselves."""
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    weights = np.empty((len(codes), 1), np.float32)
    _dequantize(codes, weights.reshape(-1).view(np.uint32))
    return weights


@kernel
def _encode(weights, halves):
    for i in range(weights.size):
        pattern = weights[i]
        if pattern & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):  # a NaN stays one, and quiet
            halves[i] = pattern >> np.uint32(16) | np.uint32(64)
        else:
            halves[i] = (pattern + (np.uint32(0x7FFF) + (pattern >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)


@kernel
def _dequantize(halves, weights):
    for i in range(weights.size):
        weights[i] = np.uint32(halves[i]) << np.uint32(16)


QUANT = QuantType(GgmlType.BF16, BLOCK, quantize, pack, pack, dequantize, encode)

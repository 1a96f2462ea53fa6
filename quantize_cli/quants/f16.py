"""F16: IEEE half precision, 2 bytes; the nearest half, ties to even, infinity past 65504 (GGML_FP32_TO_FP16)."""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import from_half, load, load_half, store, store_half, to_half
from quantize_cli.quants.interface.type import QuantType

BLOCK = np.dtype("<f2")


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size, BLOCK)
    encode(weights, importance, codes)
    return codes


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    _encode(weights.reshape(1, -1), blocks.view(np.uint16)[None])


def pack(codes: np.ndarray) -> np.ndarray:
    """The codes themselves."""
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    weights = np.empty((len(codes), 1), np.float32)
    _dequantize(codes.view(np.uint16)[None], weights.reshape(1, -1))
    return weights


@kernel
def _encode(weights, halves):
    whole = weights.shape[1] & ~15
    for i in range(0, whole, 16):
        store_half(halves, 0, i, load(weights, 0, i))
    for i in range(whole, weights.shape[1]):
        halves[0, i] = to_half(weights[0, i])


@kernel
def _dequantize(halves, weights):
    whole = weights.shape[1] & ~15
    for i in range(0, whole, 16):
        store(weights, 0, i, load_half(halves, 0, i))
    for i in range(whole, weights.shape[1]):
        weights[0, i] = from_half(halves[0, i])


QUANT = QuantType(GgmlType.F16, BLOCK, quantize, pack, pack, dequantize, encode)

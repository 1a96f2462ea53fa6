"""F32: a weight as it is, 4 bytes."""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.interface.type import QuantType

BLOCK = np.dtype("<f4")


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return weights.reshape(-1)


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    blocks[:] = weights.reshape(-1)


def pack(codes: np.ndarray) -> np.ndarray:
    """The codes themselves."""
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return codes[:, None]


QUANT = QuantType(GgmlType.F32, BLOCK, quantize, pack, pack, dequantize, encode)

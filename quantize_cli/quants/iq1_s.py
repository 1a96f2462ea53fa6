"""IQ1_S: 256 weights in 50 bytes, 1.5625 bits each; eight groups of 32, points for eight weights, one shift a group.

    byte   0    2             34                      50
           | d  |  low bytes  |  high bits and scales |
    d: f16. low bytes: 32 x u8, the low eight bits of the points. high bits and scales: 8 x u16, one per group: the
    high three bits of its four points from the lowest bit, a scale code of three, and one that says: shifted down.

    weight = d * (2 * scale_code + 1) * (level[point] +- 0.125)                2048 points of {-1, 0, 1}^8

There is no search without importance. Source: block_iq1_s, quantize_row_iq1_s_impl, dequantize_row_iq1_s.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.shared import iq1

BLOCK = np.dtype([("scale", "<f2"), ("low", "u1", 32), ("high", "<u2", 8)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 8), ("point", "u2", 32), ("down", "u1", 8)])
_LATTICE = Lattice(iq1.shifted_points(), 32, (0, 7), Signs.NONE, choices=2)
_SHIFTS = np.arange(0, 12, 3, dtype=np.uint16)


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return iq1.quantize(weights, importance, codebook.load("iq1", 3), np.empty(weights.size // 256, CODES))


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["low"] = codes["scale"], codes["point"] & 255
    high = np.bitwise_or.reduce((codes["point"] >> 8).reshape(-1, 8, 4) << _SHIFTS, axis=2)
    blocks["high"] = high | codes["scale_code"].astype(np.uint16) << 12 | codes["down"].astype(np.uint16) << 15
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"] = blocks["scale"]
    codes["point"] = blocks["low"] | (blocks["high"][:, :, None] >> _SHIFTS & 7).reshape(-1, 32) << 8
    codes["scale_code"], codes["down"] = blocks["high"] >> 12 & 7, blocks["high"] >> 15
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq1.dequantize(codes, codebook.points("iq1"))


QUANT = QuantType(GgmlType.IQ1_S, BLOCK, quantize, pack, unpack, dequantize, needs_importance=True, lattice=_LATTICE)

"""IQ1_M: 256 weights in 56 bytes, 1.75 bits each; sixteen groups of 16, points and shifts for eight weights.

    byte   0             32                      48        56
           |  low bytes  |  high bits and shifts |  scales |
    low bytes: 32 x u8, the low eight bits of the points. high bits and shifts: byte k holds for point 2 * k its high
    three bits and one that says: shifted down, and above them the same for point 2 * k + 1. scales: 4 x u16, four
    scale codes of three bits each from the lowest; their high four bits, from the first word's, are those of d, an f16.

    weight = d * (2 * scale_code + 1) * (level[point] +- 0.125)                2048 points of {-1, 0, 1}^8

Source: block_iq1_m, quantize_row_iq1_m_impl, dequantize_row_iq1_m.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.shared import iq1

BLOCK = np.dtype([("low", "u1", 32), ("high", "u1", 16), ("scales", "<u2", 4)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 16), ("point", "u2", 32), ("down", "u1", 32)])
_LATTICE = Lattice(iq1.shifted_points(), 16, (0, 7), Signs.NONE)
_SHIFTS = np.arange(0, 16, 4, dtype=np.uint16)


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return iq1.quantize(weights, importance, codebook.load("iq1", 3), np.empty(weights.size // 256, CODES))


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["low"] = codes["point"] & 255
    high = (codes["point"] >> 8).astype(np.uint8) | codes["down"] << 3
    blocks["high"] = high[:, ::2] | high[:, 1::2] << 4
    scale_codes = codes["scale_code"].astype(np.uint16).reshape(-1, 4, 4) << _SHIFTS // 4 * 3
    scale = np.ascontiguousarray(codes["scale"]).view("<u2")[:, None] >> _SHIFTS << 12
    blocks["scales"] = np.bitwise_or.reduce(scale_codes, axis=2) | scale
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    high = np.empty((len(blocks), 32), np.uint16)
    high[:, ::2], high[:, 1::2] = blocks["high"] & 15, blocks["high"] >> 4
    codes["point"], codes["down"] = blocks["low"] | (high & 7) << 8, high >> 3
    codes["scale_code"] = (blocks["scales"][:, :, None] >> _SHIFTS // 4 * 3 & 7).reshape(-1, 16)
    codes["scale"] = np.bitwise_or.reduce(blocks["scales"] >> 12 << _SHIFTS, axis=1).view("<f2")
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq1.dequantize(codes, codebook.points("iq1"))


QUANT = QuantType(GgmlType.IQ1_M, BLOCK, quantize, pack, unpack, dequantize, lattice=_LATTICE)

"""IQ2_S: 256 weights in 82 bytes, 2.5625 bits each; sixteen groups of 16, points for eight weights, all signs kept.

    byte   0    2             34        66      74        82
           | d  |  low bytes  |  signs  | high  | scales  |
    d: f16. low bytes: 32 x u8, the low eight bits of the points. signs: bit i of byte k is set where weight 8 * k + i
    is negative. high: byte k holds the high two bits of points 4 * k .. 4 * k + 3, from low to high. scales: byte k
    holds the scale code of group 2 * k low and of group 2 * k + 1 high.

    weight = d * (scale_code + 0.5) * 0.25 * magnitude[point] * sign           1024 points of {8, 25, 43}^8

Source: block_iq2_s, quantize_row_iq2_s_impl, dequantize_row_iq2_s.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.search import lattice
from quantize_cli.quants.shared import iq_lattice

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("low", "u1", 32), ("sign", "u1", 32), ("high", "u1", 8), ("scales", "u1", 8)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 16), ("point", "u2", 32), ("sign", "u1", 32)])
_POINTS = iq_lattice.IQ2_MAGNITUDES[codebook.points("iq2_s")]
_LATTICE = Lattice(f32(0.125) * _POINTS, 16, (0, 15), Signs.ALL)
_SEARCH = iq_lattice.Search(
    group=16, reach=9, step=f32(0.1), smallest=f32(1e-8), variance=f32(2), share=f32(0.25), even=False, fitted=False,
    again=lattice.STRAYS, unchosen=0, fudge=f32(0.9875), cleared=False,
)  # fmt: skip
_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 256, CODES)
    return iq_lattice.quantize(weights, importance, _SEARCH, codebook.load("iq2_s", 1), codes)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["sign"] = codes["scale"], codes["sign"]
    blocks["low"] = codes["point"] & 255
    high = (codes["point"] >> 8).astype(np.uint8).reshape(-1, 8, 4)
    blocks["high"] = np.bitwise_or.reduce(high << _SHIFTS, axis=2)
    blocks["scales"] = codes["scale_code"][:, ::2] | codes["scale_code"][:, 1::2] << 4
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"], codes["sign"] = blocks["scale"], blocks["sign"]
    high = (blocks["high"][:, :, None] >> _SHIFTS & 3).reshape(-1, 32)
    codes["point"] = blocks["low"] | high.astype(np.uint16) << 8
    codes["scale_code"][:, ::2], codes["scale_code"][:, 1::2] = blocks["scales"] & 15, blocks["scales"] >> 4
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq_lattice.dequantize(codes, f32(0.25), _POINTS, even=False)


QUANT = QuantType(GgmlType.IQ2_S, BLOCK, quantize, pack, unpack, dequantize, lattice=_LATTICE)

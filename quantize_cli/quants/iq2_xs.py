"""IQ2_XS: 256 weights in 74 bytes, 2.3125 bits each; sixteen groups of 16, points and signs for eight weights.

    byte   0    2                    66        74
           | d  |  points and signs  | scales  |
    d: f16. points and signs: 32 x u16, a point in the low nine bits and a sign code in the high seven. Bit i of a sign
    code is set where weight i of eight is negative; the eighth sign makes the number of negative ones even. scales:
    byte k holds the scale code of group 2 * k low and of group 2 * k + 1 high.

    weight = d * (scale_code + 0.5) * 0.25 * magnitude[point] * sign           512 points of {8, 25, 43}^8

There is no search without importance. Source: block_iq2_xs, quantize_row_iq2_xs_impl, dequantize_row_iq2_xs.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.search import lattice
from quantize_cli.quants.shared import iq_lattice

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("point", "<u2", 32), ("scales", "u1", 8)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 16), ("point", "u2", 32), ("sign", "u1", 32)])
_POINTS = iq_lattice.IQ2_MAGNITUDES[codebook.points("iq2_xs")]
_LATTICE = Lattice(f32(0.125) * _POINTS, 16, (0, 15), Signs.EVEN)
_SEARCH = iq_lattice.Search(
    group=16, reach=9, step=f32(0.1), smallest=f32(1e-15), variance=f32(1), share=f32(0), even=True, fitted=False,
    again=lattice.STRAYS, unchosen=0, fudge=f32(1), cleared=True,
)  # fmt: skip


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 256, CODES)
    return iq_lattice.quantize(weights, importance, _SEARCH, codebook.load("iq2_xs", 2), codes)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"] = codes["scale"]
    blocks["point"] = codes["point"] | codes["sign"].astype(np.uint16) << 9
    blocks["scales"] = codes["scale_code"][:, ::2] | codes["scale_code"][:, 1::2] << 4
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"] = blocks["scale"]
    codes["point"], codes["sign"] = blocks["point"] & 511, blocks["point"] >> 9
    codes["scale_code"][:, ::2], codes["scale_code"][:, 1::2] = blocks["scales"] & 15, blocks["scales"] >> 4
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq_lattice.dequantize(codes, f32(0.25), _POINTS, even=True)


QUANT = QuantType(GgmlType.IQ2_XS, BLOCK, quantize, pack, unpack, dequantize, needs_importance=True, lattice=_LATTICE)

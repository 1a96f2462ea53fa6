"""IQ3_S: 256 weights in 110 bytes, 3.4375 bits each; eight groups of 32, points for four weights, all signs kept.

    byte   0    2             66        74        106       110
           | d  |  low bytes  | ninths  |  signs  | scales  |
    d: f16. low bytes: 64 x u8, the low eight bits of the points. ninths: bit i of byte k is the ninth bit of point
    8 * k + i. signs: bit i of byte k is set where weight 8 * k + i is negative. scales: byte k holds the scale code of
    group 2 * k low and of group 2 * k + 1 high.

    weight = d * (scale_code + 0.5) * 2 * magnitude[point] * sign              512 points of {1, 3, 5, .. 15}^4

Source: block_iq3_s, quantize_row_iq3_s_impl, dequantize_row_iq3_s.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.search import lattice
from quantize_cli.quants.shared import iq_lattice

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("low", "u1", 64), ("ninth", "u1", 8), ("sign", "u1", 32), ("scales", "u1", 4)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 8), ("point", "u2", 64), ("sign", "u1", 32)])
_POINTS = np.arange(1, 16, 2, dtype=np.float32)[codebook.points("iq3_s")]
_LATTICE = Lattice(_POINTS, 32, (0, 15), Signs.ALL)
_SEARCH = iq_lattice.Search(
    group=32, reach=9, step=f32(0.2), smallest=f32(1e-45), variance=f32(2), share=f32(0), even=False, fitted=False,
    again=lattice.ALL_IF_ANY, unchosen=codebook.ELSEWHERE, fudge=f32(1.033), cleared=False,
)  # fmt: skip


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 256, CODES)
    return iq_lattice.quantize(weights, importance, _SEARCH, codebook.load("iq3_s", 3), codes)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["sign"] = codes["scale"], codes["sign"]
    blocks["low"] = codes["point"] & 255
    blocks["ninth"] = np.packbits((codes["point"] >> 8).astype(np.uint8), axis=1, bitorder="little")
    blocks["scales"] = codes["scale_code"][:, ::2] | codes["scale_code"][:, 1::2] << 4
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"], codes["sign"] = blocks["scale"], blocks["sign"]
    ninth = np.unpackbits(blocks["ninth"], axis=1, bitorder="little")
    codes["point"] = blocks["low"] | ninth.astype(np.uint16) << 8
    codes["scale_code"][:, ::2], codes["scale_code"][:, 1::2] = blocks["scales"] & 15, blocks["scales"] >> 4
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq_lattice.dequantize(codes, f32(2), _POINTS, even=False)


QUANT = QuantType(GgmlType.IQ3_S, BLOCK, quantize, pack, unpack, dequantize, lattice=_LATTICE)

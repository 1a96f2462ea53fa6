"""IQ2_XXS: 256 weights in 66 bytes, 2.0625 bits each; eight groups of 32, points and signs for eight weights.

    byte   0    2                                  66
           | d  |  8 x (points, signs and scale)   |
    d: f16. Each group: four points of u8, then a u32 of four sign codes of 7 bits from the lowest bit and a scale code
    of 4. Bit i of a sign code is set where weight i of eight is negative; the eighth sign makes the number of negative
    ones even.

    weight = d * (scale_code + 0.5) * 0.25 * magnitude[point] * sign           256 points of {8, 25, 43}^8

There is no search without importance. Source: block_iq2_xxs, quantize_row_iq2_xxs_impl, dequantize_row_iq2_xxs.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.search import lattice
from quantize_cli.quants.shared import iq_lattice

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("groups", [("point", "u1", 4), ("signs", "<u4")], 8)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 8), ("point", "u2", 32), ("sign", "u1", 32)])
_POINTS = iq_lattice.IQ2_MAGNITUDES[codebook.points("iq2_xxs")]
_LATTICE = Lattice(f32(0.125) * _POINTS, 32, (0, 15), Signs.EVEN)
_SEARCH = iq_lattice.Search(
    group=32, reach=6, step=f32(0.1), smallest=f32(1e-15), variance=f32(1), share=f32(0), even=True, fitted=True,
    again=lattice.ALL, unchosen=0, fudge=f32(1), cleared=True,
)  # fmt: skip


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 256, CODES)
    return iq_lattice.quantize(weights, importance, _SEARCH, codebook.load("iq2_xxs", 2), codes)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["groups"]["point"] = codes["scale"], codes["point"].reshape(-1, 8, 4)
    blocks["groups"]["signs"] = iq_lattice.pack_signs(codes["sign"]) | codes["scale_code"].astype(np.uint32) << 28
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"], codes["point"] = blocks["scale"], blocks["groups"]["point"].reshape(-1, 32)
    words = blocks["groups"]["signs"]
    codes["scale_code"], codes["sign"] = words >> 28, iq_lattice.unpack_signs(words)
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq_lattice.dequantize(codes, f32(0.25), _POINTS, even=True)


QUANT = QuantType(GgmlType.IQ2_XXS, BLOCK, quantize, pack, unpack, dequantize, needs_importance=True, lattice=_LATTICE)

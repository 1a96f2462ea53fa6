"""IQ3_XXS: 256 weights in 98 bytes, 3.0625 bits each; eight groups of 32, points for four weights, signs for eight.

    byte   0    2            66                   98
           | d  |  points    |  signs and scales  |
    d: f16. points: 64 x u8. signs and scales: 8 x u32, one per group: four sign codes of 7 bits from the lowest bit,
    then a scale code of 4. Bit i of a sign code is set where weight i of eight is negative; the eighth sign makes the
    number of negative ones even.

    weight = d * (scale_code + 0.5) * 0.5 * magnitude[point] * sign            256 points of {4, 12, 20, .. 52, 62}^4

Source: block_iq3_xxs, quantize_row_iq3_xxs_impl, dequantize_row_iq3_xxs.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.codebooks import codebook
from quantize_cli.quants.interface.grid import Lattice, Signs
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.search import lattice
from quantize_cli.quants.shared import iq_lattice

f32 = np.float32
BLOCK = np.dtype([("scale", "<f2"), ("point", "u1", 64), ("signs", "<u4", 8)])
CODES = np.dtype([("scale", "<f2"), ("scale_code", "u1", 8), ("point", "u2", 64), ("sign", "u1", 32)])
_POINTS = np.array([4, 12, 20, 28, 36, 44, 52, 62], np.float32)[codebook.points("iq3_xxs")]
_LATTICE = Lattice(f32(0.25) * _POINTS, 32, (0, 15), Signs.EVEN)
_SEARCH = iq_lattice.Search(
    group=32, reach=15, step=f32(0.2), smallest=f32(1e-8), variance=f32(2), share=f32(0), even=True, fitted=False,
    again=lattice.STRAYS, unchosen=0, fudge=f32(1.0125), cleared=True,
)  # fmt: skip


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    codes = np.empty(weights.size // 256, CODES)
    return iq_lattice.quantize(weights, importance, _SEARCH, codebook.load("iq3_xxs", 2), codes)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["point"] = codes["scale"], codes["point"]
    blocks["signs"] = iq_lattice.pack_signs(codes["sign"]) | codes["scale_code"].astype(np.uint32) << 28
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"], codes["point"] = blocks["scale"], blocks["point"]
    codes["scale_code"], codes["sign"] = blocks["signs"] >> 28, iq_lattice.unpack_signs(blocks["signs"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return iq_lattice.dequantize(codes, f32(0.5), _POINTS, even=True)


QUANT = QuantType(GgmlType.IQ3_XXS, BLOCK, quantize, pack, unpack, dequantize, lattice=_LATTICE)

"""TQ2_0: 256 weights in 66 bytes, 2.0625 bits each; for models trained with weights of -1, 0 and 1.

    byte   0                64   66
           | quarters       | d  |
    d: f16. Quarters: see packing/two_bits.py.

    weight = d * (code - 1)        d = largest magnitude; see shared/ternary.py

Importance changes nothing. Source: block_tq2_0, quantize_row_tq2_0_ref, dequantize_row_tq2_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing.two_bits import pack_quarters, unpack_quarters
from quantize_cli.quants.shared import ternary

BLOCK = np.dtype([("quarters", "u1", 64), ("scale", "<f2")])
CODES = np.dtype([("scale", "<f2"), ("code", "u1", 256)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return ternary.quantize(weights, np.empty(weights.size // 256, CODES), 1)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"] = codes["scale"]
    pack_quarters(codes["code"], blocks["quarters"])
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), CODES)
    codes["scale"] = blocks["scale"]
    unpack_quarters(blocks["quarters"], codes["code"])
    return codes


QUANT = QuantType(GgmlType.TQ2_0, BLOCK, quantize, pack, unpack, ternary.dequantize, grid=Grid(even(-1, 1), group=256))

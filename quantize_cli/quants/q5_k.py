"""Q5_K: 256 weights in 176 bytes, 5.5 bits each; Q4_K with one more bit per code.

    byte   0    2    4              16          48                       176
           | d  | m  | scales, minima | fifth bits |  nibbles              |
    d, m: f16. scales, minima: see _pairs.py. Nibbles as in Q4_K. The fifth bit of code 32 * k + i, k = 0..7, is bit
    k of byte i.

    weight = d * scale_code * code - m * minimum_code        code in 0..31

Source: block_q5_K, quantize_row_q5_K_ref, quantize_row_q5_K_impl, dequantize_row_q5_K.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.jit.simd import load, splat, store
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.shared import k_scales

BLOCK = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("pairs", "u1", 12), ("fifth_bits", "u1", 32), ("nibbles", "u1", 128)]
)
_SEARCH = (np.float32(-0.5), np.float32(0.1), 15)


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return k_scales.quantize(weights, importance, 31, _SEARCH)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["minimum"] = codes["scale"], codes["minimum"]
    k_scales.pack_pairs(codes["scale_code"], codes["minimum_code"], blocks["pairs"])
    _pack_codes(codes["code"], blocks["fifth_bits"], blocks["nibbles"])
    return blocks


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), k_scales.CODES)
    codes["scale"], codes["minimum"] = blocks["scale"], blocks["minimum"]
    k_scales.unpack_pairs(blocks["pairs"], codes["scale_code"], codes["minimum_code"])
    _unpack_codes(blocks["fifth_bits"], blocks["nibbles"], codes["code"])
    return codes


@kernel
def _pack_codes(code, fifth_bits, nibbles):
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            fifth = splat(np.int32(0))
            for part in range(4):
                low, high = load(code, block, 64 * part + i), load(code, block, 64 * part + 32 + i)
                store(nibbles, block, 32 * part + i, (low & 15) | (high & 15) << 4)
                fifth = fifth | (low >> 4) << (2 * part) | (high >> 4) << (2 * part + 1)
            store(fifth_bits, block, i, fifth)


@kernel
def _unpack_codes(fifth_bits, nibbles, code):
    for block in range(code.shape[0]):
        for i in range(0, 32, 16):
            fifth = load(fifth_bits, block, i)
            for part in range(4):
                both = load(nibbles, block, 32 * part + i)
                store(code, block, 64 * part + i, (both & 15) | (fifth >> (2 * part) & 1) << 4)
                store(code, block, 64 * part + 32 + i, both >> 4 | (fifth >> (2 * part + 1) & 1) << 4)


QUANT = QuantType(
    GgmlType.Q5_K,
    BLOCK,
    quantize,
    pack,
    unpack,
    k_scales.dequantize,
    grid=Grid(even(0, 31), 32, (0, 63), (0, 63), sign=-1),
)

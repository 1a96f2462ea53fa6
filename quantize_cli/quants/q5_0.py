"""Q5_0: 32 weights in 22 bytes, 5.5 bits each.

    byte   0    2            6                 22
           | d  | fifth bits | 16 x nibbles    |
    d: f16. Fifth bits and nibbles: see _nibbles.py.

    weight = d * (code - 16)        code in 0..31; see _symmetric.py

Source: block_q5_0, quantize_row_q5_0_ref, quantize_row_q5_0_impl, dequantize_row_q5_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing.nibbles import (
    add_fifth_bits,
    pack_fifth_bits,
    pack_nibbles,
    put_five_bits,
    unpack_nibbles,
)
from quantize_cli.quants.search.batch import in_batches
from quantize_cli.quants.shared import symmetric

BLOCK = np.dtype([("scale", "<f2"), ("fifth_bits", "<u4"), ("nibbles", "u1", 16)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return symmetric.quantize(weights, importance, 16)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"] = codes["scale"]
    pack_fifth_bits(codes["code"], blocks["fifth_bits"])
    pack_nibbles(codes["code"], blocks["nibbles"])
    return blocks


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    if importance is None:
        in_batches(_fill, weights.reshape(-1, 32), blocks)
    else:
        blocks[:] = pack(quantize(weights, importance))


def _fill(weights: np.ndarray, blocks: np.ndarray) -> None:
    _encode(weights, blocks["scale"].view(np.uint16), blocks["nibbles"], blocks["fifth_bits"])


@kernel
def _encode(weights, scale, nibbles, fifth_bits):
    symmetric.decide(weights, 16, scale, put_five_bits, (nibbles, fifth_bits))


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), symmetric.CODES)
    codes["scale"] = blocks["scale"]
    unpack_nibbles(blocks["nibbles"], codes["code"])
    add_fifth_bits(blocks["fifth_bits"], codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return symmetric.dequantize(codes, 16)


QUANT = QuantType(GgmlType.Q5_0, BLOCK, quantize, pack, unpack, dequantize, encode, grid=Grid(even(-16, 15), group=32))

"""Q4_1: 32 weights in 20 bytes, 5 bits each.

    byte   0    2    4                 20
           | d  | m  | 16 x nibbles    |
    d, m: f16. Nibbles: see _nibbles.py.

    weight = d * code + m        code in 0..15; see _affine.py

Source: block_q4_1, quantize_row_q4_1_ref, quantize_row_q4_1_impl, dequantize_row_q4_1.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing.nibbles import pack_nibbles, put_nibbles, unpack_nibbles
from quantize_cli.quants.search.batch import in_batches
from quantize_cli.quants.shared import affine

BLOCK = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("nibbles", "u1", 16)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return affine.quantize(weights, importance, 15)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"], blocks["minimum"] = codes["scale"], codes["minimum"]
    pack_nibbles(codes["code"], blocks["nibbles"])
    return blocks


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    if importance is None:
        in_batches(_fill, weights.reshape(-1, 32), blocks)
    else:
        blocks[:] = pack(quantize(weights, importance))


def _fill(weights: np.ndarray, blocks: np.ndarray) -> None:
    _encode(weights, *affine.halves_of(blocks), blocks["nibbles"])


@kernel
def _encode(weights, scale, low, nibbles):
    affine.decide(weights, 15, scale, low, put_nibbles, (nibbles,))


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), affine.CODES)
    codes["scale"], codes["minimum"] = blocks["scale"], blocks["minimum"]
    unpack_nibbles(blocks["nibbles"], codes["code"])
    return codes


QUANT = QuantType(
    GgmlType.Q4_1, BLOCK, quantize, pack, unpack, affine.dequantize, encode, grid=Grid(even(0, 15), 32, sign=1)
)

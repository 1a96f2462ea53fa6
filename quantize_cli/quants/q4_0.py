"""Q4_0: 32 weights in 18 bytes, 4.5 bits each.

    byte   0    2                 18
           | d  | 16 x nibbles    |
    d: f16. Nibbles: see _nibbles.py.

    weight = d * (code - 8)        code in 0..15; see _symmetric.py

Source: block_q4_0, quantize_row_q4_0_ref, quantize_row_q4_0_impl, dequantize_row_q4_0.
"""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.jit.kernel import kernel
from quantize_cli.quants.interface.grid import Grid, even
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing.nibbles import pack_nibbles, put_nibbles, unpack_nibbles
from quantize_cli.quants.search.batch import in_batches
from quantize_cli.quants.shared import symmetric

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])


def quantize(weights: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    return symmetric.quantize(weights, importance, 8)


def pack(codes: np.ndarray) -> np.ndarray:
    blocks = np.empty(len(codes), BLOCK)
    blocks["scale"] = codes["scale"]
    pack_nibbles(codes["code"], blocks["nibbles"])
    return blocks


def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
    if importance is None:
        in_batches(_fill, weights.reshape(-1, 32), blocks)
    else:
        blocks[:] = pack(quantize(weights, importance))


def _fill(weights: np.ndarray, blocks: np.ndarray) -> None:
    _encode(weights, blocks["scale"].view(np.uint16), blocks["nibbles"])


@kernel
def _encode(weights, scale, nibbles):
    symmetric.decide(weights, 8, scale, put_nibbles, (nibbles,))


def unpack(blocks: np.ndarray) -> np.ndarray:
    codes = np.empty(len(blocks), symmetric.CODES)
    codes["scale"] = blocks["scale"]
    unpack_nibbles(blocks["nibbles"], codes["code"])
    return codes


def dequantize(codes: np.ndarray) -> np.ndarray:
    return symmetric.dequantize(codes, 8)


QUANT = QuantType(GgmlType.Q4_0, BLOCK, quantize, pack, unpack, dequantize, encode, grid=Grid(even(-8, 7), group=32))

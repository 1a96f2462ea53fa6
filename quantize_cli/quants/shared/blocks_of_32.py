"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: how 32 codes of four or five bits, and their halves, are stored."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.interface.grid import Grid
from quantize_cli.quants.interface.type import QuantType
from quantize_cli.quants.packing import fields, nibbles
from quantize_cli.quants.search.batch import in_batches


def putter(block: np.dtype) -> Any:
    """What puts the codes of one block into `code_fields`."""
    return nibbles.put_five_bits if "fifth_bits" in (block.names or ()) else nibbles.put_nibbles


def code_fields(blocks: np.ndarray) -> tuple[np.ndarray, ...]:
    """What of blocks (n,) holds the codes: nibbles, and fifth bits where there are such."""
    return tuple(blocks[name] for name in ("nibbles", "fifth_bits") if name in (blocks.dtype.names or ()))


def halves_of(blocks: np.ndarray) -> tuple[np.ndarray, ...]:
    """The scales, and the minima where there are such, of codes or blocks, as the bits of their halves (n,) u16."""
    return tuple(blocks[name].view(np.uint16) for name in ("scale", "minimum") if name in (blocks.dtype.names or ()))


class Decisions(NamedTuple):
    """How the codes of a type are decided, and what they stand for."""

    codes: np.dtype
    quantize: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    dequantize: Callable[[np.ndarray], np.ndarray]
    fill: Any
    """(weights, halves, code fields): a kernel that decides without an importance, and packs."""
    grid: Grid


def quant_of(type_: GgmlType, block: np.dtype, decisions: Decisions) -> QuantType:
    """The type whose block is the dtype `block`."""

    moves = [fields.Move(nibbles.pack_nibbles, nibbles.unpack_nibbles, ("code",), ("nibbles",))]
    if "fifth_bits" in (block.names or ()):
        moves.append(fields.Move(nibbles.pack_fifth_bits, nibbles.add_fifth_bits, ("code",), ("fifth_bits",)))
    pack, unpack = fields.mover(decisions.codes, block, *moves)

    def fill_blocks(weights: np.ndarray, blocks: np.ndarray) -> None:
        decisions.fill(weights, halves_of(blocks), code_fields(blocks))

    def encode(weights: np.ndarray, importance: np.ndarray | None, blocks: np.ndarray) -> None:
        if importance is None:
            in_batches(fill_blocks, weights.reshape(-1, 32), blocks)
        else:
            blocks[:] = pack(decisions.quantize(weights, importance))

    return QuantType(type_, block, decisions.quantize, pack, unpack, decisions.dequantize, encode, grid=decisions.grid)

"""From codes to blocks and back, and the functions of a type that only hand the fields of either to a kernel."""

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

Convert = Callable[[np.ndarray], np.ndarray]
"""Codes (n,) -> blocks (n,), blocks (n,) -> codes (n,), or codes (n,) -> weights."""


class Move(NamedTuple):
    """How some fields of the codes are stored in some fields of a block."""

    pack: Any
    """(*fields of the codes, *fields of the blocks): fills the latter."""
    unpack: Any
    """(*fields of the blocks, *fields of the codes): the reverse."""
    codes: tuple[str, ...]
    blocks: tuple[str, ...]


def mover(codes: np.dtype, block: np.dtype, *moves: Move) -> tuple[Convert, Convert]:
    """The functions `pack` and `unpack` of a type: fields with a name in both are copied, then the moves are made."""

    same = [name for name in codes.names or () if name in (block.names or ())]
    kernels = [(move.pack, move.unpack, _picker(move.codes), _picker(move.blocks)) for move in moves]

    def pack(source: np.ndarray) -> np.ndarray:
        blocks = np.empty(len(source), block)
        for name in same:
            blocks[name] = source[name]
        for fill, _, of_codes, of_blocks in kernels:
            fill(*of_codes(source), *of_blocks(blocks))
        return blocks

    def unpack(source: np.ndarray) -> np.ndarray:
        filled = np.empty(len(source), codes)
        for name in same:
            filled[name] = source[name]
        for _, fill, of_codes, of_blocks in kernels:
            fill(*of_blocks(source), *of_codes(filled))
        return filled

    return pack, unpack


def _picker(names: tuple[str, ...]) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """The fields of these names; an itemgetter, since a loop in Python takes as long as a small kernel."""
    pick = itemgetter(*names)
    return pick if len(names) > 1 else lambda blocks: (pick(blocks),)


def arrays(codes: np.ndarray) -> list[np.ndarray]:
    """The fields of codes (n,) in order, halves as their bits u16: what kernels take."""
    return [codes[name].view(np.uint16) if is_half else codes[name] for name, is_half in _fields(codes.dtype)]


@cache
def _fields(dtype: np.dtype) -> tuple[tuple[str, bool], ...]:
    """Their names, and whether they are halves. Kept: asked at each call, it takes longer than many a kernel."""
    return tuple((name, dtype[name].base == np.float16) for name in dtype.names or ())


def dequantizer(fill: Any) -> Convert:
    """The function `dequantize` of a type whose codes have a field `code`, one for each weight.

    `fill` is a kernel (*fields of the codes, weights (n, block weights) f32).
    """

    def dequantize(codes: np.ndarray) -> np.ndarray:
        weights = np.empty(codes["code"].shape, np.float32)
        fill(*arrays(codes), weights)
        return weights

    return dequantize

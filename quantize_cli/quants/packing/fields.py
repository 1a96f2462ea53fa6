"""From codes to blocks and back, and the functions of a type that only hand the fields of either to a kernel."""

from collections.abc import Callable
from functools import cache
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

    def pack(source: np.ndarray) -> np.ndarray:
        blocks = _copied(source, block, same)
        for move in moves:
            move.pack(*(source[name] for name in move.codes), *(blocks[name] for name in move.blocks))
        return blocks

    def unpack(source: np.ndarray) -> np.ndarray:
        filled = _copied(source, codes, same)
        for move in moves:
            move.unpack(*(source[name] for name in move.blocks), *(filled[name] for name in move.codes))
        return filled

    return pack, unpack


def _copied(source: np.ndarray, dtype: np.dtype, names: list[str]) -> np.ndarray:
    target = np.empty(len(source), dtype)
    for name in names:
        target[name] = source[name]
    return target


def arrays(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of codes (n,) in order, halves as their bits u16: what kernels take."""
    bits = codes.view(_with_halves_as_bits(codes.dtype))
    return tuple(bits[name] for name in bits.dtype.names or ())


@cache
def _with_halves_as_bits(dtype: np.dtype) -> np.dtype:
    """Kept by dtype: to compare the types of all fields at each call took 5 % of decoding half a million weights."""
    fields = [(name, dtype[name].base, dtype[name].shape) for name in dtype.names or ()]
    return np.dtype([(name, "<u2" if base == np.float16 else base, shape) for name, base, shape in fields])


def dequantizer(fill: Any) -> Convert:
    """The function `dequantize` of a type whose codes have a field `code`, one for each weight.

    `fill` is a kernel (*fields of the codes, weights (n, block weights) f32).
    """

    def dequantize(codes: np.ndarray) -> np.ndarray:
        weights = np.empty((len(codes), *codes.dtype["code"].shape), np.float32)
        fill(*arrays(codes), weights)
        return weights

    return dequantize

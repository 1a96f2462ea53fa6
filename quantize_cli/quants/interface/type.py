"""What a quantization type is: functions over plain arrays, and how to find one by its GGML number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from quantize_cli import plugins
from quantize_cli.errors import IMPORTANCE_HINT, InputError
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType, row_nbytes
from quantize_cli.quants.interface.grid import Grid, Lattice

_TILE_WEIGHTS = 1 << 17
"""Weights quantized before they are packed: 128 KiB of codes, so that they are still in cache when they are packed."""


@dataclass(frozen=True)
class QuantType:
    """One GGML type. quantize decides, pack only moves bits: unpack(pack(codes)) == codes."""

    type: GgmlType
    block: np.dtype
    """One block as the file stores it."""
    quantize: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    """Weights (rows, columns) f32 and importance (columns,) f32 or None -> codes, a structured array of all blocks."""
    pack: Callable[[np.ndarray], np.ndarray]
    """Codes (n,) -> blocks (n,)."""
    unpack: Callable[[np.ndarray], np.ndarray]
    """Blocks (n,) -> codes (n,)."""
    dequantize: Callable[[np.ndarray], np.ndarray]
    """Codes (n,) -> weights (n, block weights) f32."""
    encode: Callable[[np.ndarray, np.ndarray | None, np.ndarray], None] | None = None
    """Quantize and pack into blocks (n,) at once, as a type that searches nothing does in one pass; the same bytes."""
    needs_importance: bool = False
    """Whether `quantize` cannot do without: the reference has no way to choose codes from the weights alone.

    llama.cpp refuses more types without an importance matrix than these; that policy stands in pipeline/plan.py.
    """
    grid: Grid | None = None
    """What the codes stand for, where that is levels times a scale."""
    lattice: Lattice | None = None
    """The same where it is points of a codebook times a scale."""

    def __post_init__(self) -> None:
        expected = BLOCK_SHAPE[self.type].nbytes
        if self.block.itemsize != expected:
            raise AssertionError(f"{self.type.name}: block of {self.block.itemsize} bytes, the table says {expected}")


def supported() -> tuple[GgmlType, ...]:
    """The types that can be written, by name."""
    return tuple(GgmlType[name.upper()] for name in plugins.names("quants"))


def find(type_: GgmlType) -> QuantType:
    """The implementation of a type; InputError when there is none."""
    if type_ not in supported():
        known = ", ".join(plugins.names("quants"))
        raise InputError(f"type {type_.name.lower()} is not supported", hint=f"known: {known}")
    quant: QuantType = plugins.load("quants", type_.name.lower()).QUANT
    return quant


def codes_dtype(type_: GgmlType) -> np.dtype:
    """What codes of a type are made of."""
    quant = find(type_)
    return quant.unpack(np.zeros(1, quant.block)).dtype


def encode(
    type_: GgmlType, weights: np.ndarray, importance: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Weights (rows, columns) f32 -> the bytes a file holds for them, (rows, row bytes) uint8.

    `importance` (columns,) f32 says what an error in each column costs; None leaves the choice to the weights alone.
    The bytes are written to `out`, contiguous, where one is given: memory that is new costs more than many a type.
    """
    quant = find(type_)
    refuse_without(importance, type_)
    rows, columns = weights.shape
    stored = np.empty((rows, row_nbytes(type_, columns)), np.uint8) if out is None else out
    weights = np.ascontiguousarray(weights, np.float32)
    if quant.encode is None:
        _encode_in_tiles(quant, weights, importance, stored)
    else:
        quant.encode(weights, importance, _blocks(quant, stored))
    return stored


def refuse_without(importance: np.ndarray | None, type_: GgmlType) -> None:
    """InputError where a type cannot do without an importance and has none."""
    if importance is None and find(type_).needs_importance:
        raise InputError(f"type {type_.name.lower()} needs an importance matrix", hint=IMPORTANCE_HINT)


def _encode_in_tiles(quant: QuantType, weights: np.ndarray, importance: np.ndarray | None, stored: np.ndarray) -> None:
    tile = max(1, _TILE_WEIGHTS // weights.shape[1])
    for start in range(0, len(weights), tile):
        packed = quant.pack(quant.quantize(weights[start : start + tile], importance))
        stored[start : start + tile] = packed.view(np.uint8).reshape(-1, stored.shape[1])


def _blocks(quant: QuantType, stored: np.ndarray) -> np.ndarray:
    """The contiguous bytes of rows as blocks (n,); not a copy."""
    return stored.view(np.uint8).reshape(-1, quant.block.itemsize).view(quant.block)[:, 0]


def compile_kernels(written: Iterable[GgmlType], read: Iterable[GgmlType] = (), weighted: bool = False) -> None:
    """Have the machine code ready to encode and to decode these types, from the cache or made now.

    `weighted` says that there will be an importance. Two rows are tried, since numba compiles again for arrays of one.
    """
    known = supported()
    for type_ in read:
        if type_ in known:
            decode(type_, np.zeros((2, BLOCK_SHAPE[type_].nbytes), np.uint8))
    for type_ in written:
        if type_ in known:
            width = BLOCK_SHAPE[type_].weights
            importance = np.ones(width, np.float32) if weighted or find(type_).needs_importance else None
            encode(type_, np.zeros((2, width), np.float32), importance)


def decode(type_: GgmlType, stored: np.ndarray) -> np.ndarray:
    """Rows as `Tensor.read` gives them, numbers or block bytes -> weights (rows, columns) f32."""
    if type_ is GgmlType.F32 and stored.dtype == np.float32:
        return stored
    return find(type_).dequantize(unpacked(type_, stored)).reshape(len(stored), -1)


def unpacked(type_: GgmlType, stored: np.ndarray) -> np.ndarray:
    """The codes (n,) of all blocks of rows, (rows, row bytes) u8."""
    quant = find(type_)
    return quant.unpack(_blocks(quant, np.ascontiguousarray(stored)))

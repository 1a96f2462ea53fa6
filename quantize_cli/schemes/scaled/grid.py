"""Which weights share a scale, by the shapes of both."""

from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.schemes.interface.scheme import DAMAGED_HINT, origin
from quantize_cli.schemes.scaled.readers import BlockScales

FLOATS = ("F32", "F16", "BF16", "F8_E4M3")
EXPONENTS = ("U8", "F8_E8M0")
"""Dtypes of bytes that stand for powers of two."""
Block = tuple[int, int]
"""Rows and columns that share a scale; 0 for all there are."""
TENSOR, CHANNEL = (0, 0), (1, 0)
USUAL: tuple[Block, ...] = (TENSOR, CHANNEL, (128, 128), (1, 32), (1, 64), (1, 128), (1, 16))
"""Blocks where no configuration says which."""


def fitting(scales: StoredTensor, shape: tuple[int, ...], allowed: tuple[Block, ...]) -> Block | None:
    """The first allowed block of weights of this shape that has as many scales below and beside each other."""
    sides = _sides(scales.shape)
    whole = (_whole(block, shape) for block in allowed)
    return next((block for block in whole if sides == _sides(_grid(shape, block))), None)


def block_of(scales: StoredTensor, shape: tuple[int, ...], allowed: tuple[Block, ...]) -> Block:
    """The rows and columns that share a scale, by the shape of the scales.

    `shape` is that of the weights, (rows, columns) or (matrices, rows, columns). InputError where no allowed block
    fits.
    """
    block = fitting(scales, shape, allowed)
    if block is None:
        expected = " or ".join(str(list(_grid(shape, _whole(block, shape))[len(shape) == 2 :])) for block in allowed)
        raise InputError(
            f"{origin(scales)} has shape {list(scales.shape)}, expected {expected} for weights {list(shape)}",
            DAMAGED_HINT,
        )
    return block


def block_scales(scales: StoredTensor, shape: tuple[int, ...], block: Block) -> BlockScales:
    """The scales of weights of this shape, one for each block; blocks at the edges may be cut short.

    InputError when there are not as many of them, or their dtype is that of no scale.
    """
    if scales.dtype not in FLOATS + EXPONENTS:
        raise InputError(f"{origin(scales)} has dtype {scales.dtype}, which is that of no scale", DAMAGED_HINT)
    return block_values(scales, shape, block, scales.dtype in EXPONENTS)


def block_values(
    stored: StoredTensor, shape: tuple[int, ...], block: Block, are_exponents: bool = False
) -> BlockScales:
    """Any numbers of which each block has one; InputError when there are not as many."""
    grid = _grid(shape, block)
    if _sides(stored.shape) != _sides(grid):
        raise InputError(
            f"{origin(stored)} has shape {list(stored.shape)}, "
            f"expected {list(grid[len(shape) == 2 :])} for weights {list(shape)} in blocks of {block[0]} x {block[1]}",
            DAMAGED_HINT,
        )
    return BlockScales(reshaped(stored, grid), shape[-2], block[0], are_exponents)


def reshaped(stored: StoredTensor, shape: tuple[int, ...]) -> StoredTensor:
    """The same elements in the same order under another shape of as many."""
    assert prod(stored.shape) == prod(shape)
    return StoredTensor(stored.name, shape, stored.dtype, stored.path, stored.offset, stored.nbytes, stored.element)


def _grid(shape: tuple[int, ...], block: Block) -> tuple[int, int, int]:
    """Matrices, and how many blocks lie below and beside each other."""
    return prod(shape[:-2]), -(-shape[-2] // block[0]), -(-shape[-1] // block[1])


def _whole(block: Block, shape: tuple[int, ...]) -> Block:
    """The block with both sides said, and none longer than the matrix."""
    rows, columns = shape[-2:]
    return min(block[0] or rows, rows), min(block[1] or columns, columns)


def _sides(shape: tuple[int, ...]) -> list[int]:
    """The dimensions without those of one, which tools add and leave out."""
    return [side for side in shape if side != 1]

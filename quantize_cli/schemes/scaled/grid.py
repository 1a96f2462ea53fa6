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
"""Rows and columns."""


def block_of(scales: StoredTensor, shape: tuple[int, ...], stated: tuple[Block, ...] = ()) -> Block:
    """The rows and columns of weights that share a scale: all, one row, as stated, or as the shapes divide.

    `shape` is that of the weights, (rows, columns) or (matrices, rows, columns). `stated` are the blocks that the
    configuration speaks of. InputError where scales of this shape cannot be laid over the weights.
    """
    rows, columns = shape[-2:]
    sides = _sides(scales.shape)
    for block in ((rows, columns), (1, columns), *stated):
        if min(block) > 0 and sides == _sides(_grid(shape, block)):
            return min(block[0], rows), min(block[1], columns)
    if len(scales.shape) >= 2:
        grid_rows, grid_columns = ([*sides, 1, 1] if len(sides) < 2 else sides[-2:])[:2]
        if len(sides) < 2:  # one side is 1, and which of the two the shape says
            grid_rows, grid_columns = scales.shape[-2:]
        if grid_rows and grid_columns and not rows % grid_rows and not columns % grid_columns:
            block = rows // grid_rows, columns // grid_columns
            if sides == _sides(_grid(shape, block)):
                return block
    raise InputError(
        f"{origin(scales)} has shape {list(scales.shape)}, which does not divide weights {list(shape)}", DAMAGED_HINT
    )


def block_scales(scales: StoredTensor, shape: tuple[int, ...], block: Block) -> BlockScales:
    """The scales of weights of this shape, one for each block; blocks at the edges may be cut short.

    InputError when there are not as many of them, or their dtype is that of no scale.
    """
    if scales.dtype not in FLOATS + EXPONENTS:
        raise InputError(f"{origin(scales)} has dtype {scales.dtype}, which is that of no scale", DAMAGED_HINT)
    grid = _grid(shape, block)
    if _sides(scales.shape) != _sides(grid):
        raise InputError(
            f"{origin(scales)} has shape {list(scales.shape)}, "
            f"but weights {list(shape)} in blocks of {block[0]} x {block[1]} have {list(grid)} scales",
            DAMAGED_HINT,
        )
    return BlockScales(reshaped(scales, grid), shape[-2], block[0], scales.dtype in EXPONENTS)


def reshaped(stored: StoredTensor, shape: tuple[int, ...]) -> StoredTensor:
    """The same elements in the same order under another shape of as many."""
    assert prod(stored.shape) == prod(shape)
    return StoredTensor(stored.name, shape, stored.dtype, stored.path, stored.offset, stored.nbytes, stored.element)


def _grid(shape: tuple[int, ...], block: Block) -> tuple[int, int, int]:
    """Matrices, and how many blocks lie below and beside each other."""
    return prod(shape[:-2]), -(-shape[-2] // block[0]), -(-shape[-1] // block[1])


def _sides(shape: tuple[int, ...]) -> list[int]:
    """The dimensions without those of one, which tools add and leave out."""
    return [side for side in shape if side != 1]

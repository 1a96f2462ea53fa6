"""The codes of other schemes as blocks of a GGML type, and whether its blocks can hold them."""

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType

LOSSLESS = "without loss"


def are_halves(values: np.ndarray) -> bool:
    """Whether each number is a finite float16, which is what blocks keep."""
    numbers = values.astype(np.float32)
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16)
    return bool(np.isfinite(halves).all() and np.array_equal(halves.astype(np.float32), numbers))


def pack(type_: GgmlType, codes: np.ndarray, **numbers: np.ndarray) -> np.ndarray:
    """Rows of blocks, (rows, row bytes) u8, of codes (rows, columns) as the type has them.

    `numbers` are the other fields of a block by their names in `quantize_cli/quants`, as `scale` and `minimum`:
    (rows, groups) each, where groups are of one size and hold whole blocks, or all of the rows' numbers where a block
    has several.
    """
    from quantize_cli import quants

    rows, columns = codes.shape
    width = BLOCK_SHAPE[type_].weights
    blocks = np.zeros((rows, columns // width), quants.codes_dtype(type_))
    blocks["code"] = codes.reshape(rows, -1, width)
    for name, values in numbers.items():
        field = blocks[name]
        if field.ndim == 3:
            field[:] = values.reshape(field.shape)
        else:
            field[:] = np.repeat(values, columns // width // values.shape[1], axis=1)
    packed = quants.find(type_).pack(blocks.reshape(-1))
    return packed.view(np.uint8).reshape(rows, -1)

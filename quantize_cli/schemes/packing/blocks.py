"""The codes of other schemes as blocks of a GGML type, and what is lost with that."""

from collections.abc import Mapping

import numpy as np

from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.model.sources import LOSSLESS

LEVELS = {
    GgmlType.Q2_0: (-1, 2),
    GgmlType.Q4_0: (-8, 7),
    GgmlType.Q5_0: (-16, 15),
    GgmlType.Q8_0: (-128, 127),
}
"""Types whose weights are whole numbers times a scale, and the least and the largest of these numbers."""
TOPS = {GgmlType.Q4_1: 15, GgmlType.Q5_1: 31}
"""Types whose weights are codes from 0 on times a scale, plus a minimum, and the largest code."""

_MOST_ROUNDED = 2.0**-11
"""How far a number in the normal range of float16 is from the nearest, at most, as a part of itself."""


def rounding(values: np.ndarray) -> float:
    """The largest error that numbers have as float16, as a part of themselves; infinite where it is no error but loss.

    That is where they are too large or too small to be rounded well, or not finite.
    """
    numbers = values.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(numbers.astype(np.float16).astype(np.float32) - numbers)
        limits = np.abs(numbers) * np.float32(_MOST_ROUNDED)
    if not (errors <= limits).all():  # which NaN is not either
        return np.inf
    return float((errors / np.maximum(np.abs(numbers), np.float32(1e-30))).max(initial=0))


def verdict(errors: Mapping[str, float]) -> str:
    """What `Repackable.repacking` says, where the numbers of these names have such errors as float16."""
    if not all(np.isfinite(error) for error in errors.values()):
        return ""
    rounded = [name for name, error in errors.items() if error]
    if not rounded:
        return LOSSLESS
    return f"{' and '.join(rounded)} rounded to f16, by {max(errors.values()):.1e} of themselves at most"


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

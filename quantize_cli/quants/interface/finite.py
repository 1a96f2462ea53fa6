"""Whether what a file holds stands for finite numbers: told by the few numbers in a block that scale the others."""

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.quants.interface.type import codes_dtype, decode, find, supported

_HALF, _SINGLE = 0x7C00, 0x7F80
"""Bits of the exponent, all set in infinities and NaN; of a float32 and a bfloat16 in the upper sixteen."""
_LAST_EXPONENT = 252
"""Of MXFP4: with the next, 2**125, twelve becomes infinite; the last of all is NaN in the standard."""
_NAN = 127
"""Of NVFP4's scales, whose top bit is not looked at."""

_FLOATS = {GgmlType.F16: (1, 0, _HALF), GgmlType.BF16: (1, 0, _SINGLE), GgmlType.F32: (2, 1, _SINGLE)}
"""How many words of sixteen bits a number has, which of them holds its exponent, and where in it."""

_LARGEST = {
    GgmlType.F32: np.inf, GgmlType.BF16: np.inf, GgmlType.F16: 65520.0, GgmlType.MXFP4: np.inf, GgmlType.NVFP4: 2688.0,
}  # fmt: skip
_LARGEST_OF_HALVES = 1e12
"""More than a half times any scale's code and level; the squares of 1e19 are infinite, and searches find nothing."""


def is_beyond(type_: GgmlType, magnitude: float) -> bool:
    """Whether no block of the type holds so large a weight, or it would be cut; those that are less may be beyond too.

    What is cut or lost is not seen in what is written, as what became infinite is.
    """
    return bool(magnitude > _LARGEST.get(type_, _LARGEST_OF_HALVES))


def first_not_finite(type_: GgmlType, stored: np.ndarray) -> tuple[int, int] | None:
    """Row and block of the first block that stands for NaN or infinity in stored rows (rows, row bytes) u8; or None.

    Of a float type a block is one number.
    """
    quant = find(type_)
    per_row = stored.shape[1] // quant.block.itemsize
    for bad in _suspects(type_, np.ascontiguousarray(stored)):
        if bad is not None:
            return bad // per_row, bad % per_row
    return None


def trouble(type_: GgmlType, stored: np.ndarray, first: int = 0) -> str | None:
    """What is not finite in stored rows (rows, row bytes) u8, of which `first` is the number of the first; or None."""
    found = first_not_finite(type_, stored) if type_ in supported() else None
    if found is None:
        return None
    row, block = found
    if type_ not in _FLOATS:
        return f"the scale of block {block} in row {first + row} is not finite"
    number = decode(type_, np.ascontiguousarray(stored)[row : row + 1])[0, block]
    return f"{number} at row {first + row}, column {block}"


def _suspects(type_: GgmlType, stored: np.ndarray) -> list[int | None]:
    """For each number that scales a block, the first block where it is not finite."""
    quant = find(type_)
    if type_ in _FLOATS:
        step, offset, mask = _FLOATS[type_]
        return [_first(stored.view(np.uint16).reshape(-1)[offset::step], mask)]
    blocks = stored.reshape(-1, quant.block.itemsize).view(quant.block)[:, 0]
    if type_ is GgmlType.MXFP4:
        return [_first_where(blocks["exponent"] > _LAST_EXPONENT)]
    if type_ is GgmlType.NVFP4:
        return [_first_where(((blocks["scale_code"] & _NAN) == _NAN).any(axis=1))]
    names = _halves(quant.block)
    if not names:  # a half whose bits lie apart
        blocks, names = quant.unpack(blocks), _halves(codes_dtype(type_))
    return [_first(blocks[name].view(np.uint16), _HALF) for name in names]


def _halves(dtype: np.dtype) -> list[str]:
    return [name for name in dtype.names or () if dtype[name] == np.float16]


def _first(words: np.ndarray, mask: int) -> int | None:
    """The first of words (n,) u16 in which all bits of the mask are set."""
    return _first_where((words & mask) == mask) if _has(words, mask) else None


def _first_where(found: np.ndarray) -> int | None:
    return int(found.argmax()) if found.any() else None


def _has(words: np.ndarray, mask: int) -> bool:
    """Whether any of words (n,) u16 has all bits of the mask set, which are the highest but that of the sign."""
    return bool(words.size and (words.view(np.int16).max() >= mask or words.max() >= mask | 1 << 15))

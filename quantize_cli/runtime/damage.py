"""Weights that are not finite, which make all that follows from them worthless, and where they are."""

from collections.abc import Iterable

import numpy as np

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.model.tensor import DAMAGED_HINT, Tensor

_READ = 1 << 22
"""Bytes looked at at once."""


def refuse_damaged(tensor: Tensor, stored: np.ndarray, first: int = 0) -> None:
    """InputError that names what is not finite in stored rows u8 of a tensor, of which the first is number `first`."""
    if trouble := quants.trouble(tensor.type, stored, tensor.first_row + first):
        raise InputError(f"{tensor.origin}: {trouble}", hint=DAMAGED_HINT)


def refuse_any_damaged(tensors: Iterable[Tensor]) -> None:
    """The same of whole tensors, which are read for it."""
    for tensor in tensors:
        step = max(1, _READ // max(1, tensor.columns))
        for start in range(0, tensor.row_count, step):
            rows = np.ascontiguousarray(tensor.read(start, min(start + step, tensor.row_count)))
            refuse_damaged(tensor, rows.view(np.uint8), start)

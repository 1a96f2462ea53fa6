"""The description of a tensor in a file, which reads its rows on request."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import read_into

ELEMENT = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    # A byte that is neither 0 nor 1 is no valid numpy bool.
    "BOOL": np.dtype("u1"),
}
"""Number types by their names in safetensors files, which are also those of ggml."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, readable by ranges of rows.

    A tensor is a matrix of `row_count` rows: the last axis of `shape` lies along a row, the others are counted
    together. A vector is one row, a scalar one row of one.
    """

    name: str
    shape: tuple[int, ...]
    """Row-major, as numpy has it."""
    dtype: str
    """As the file spells it: "BF16", "Q4_K"."""
    path: Path
    offset: int
    """Of the first byte, from the start of the file."""
    nbytes: int
    element: np.dtype
    """What `rows` returns an array of: the number type, or uint8 for block types."""

    @property
    def row_count(self) -> int:
        """Zero when rows are empty: a hostile header can claim 2**60 empty rows in a small file."""
        return prod(self.shape[:-1]) if self.nbytes else 0

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as (stop - start, columns) of `element`; FormatError if the file ends before them.

        Reads into memory of its own instead of mapping the file: a mapped page counts as the process's own
        while it is resident, and a file cut short under a mapping kills the process.
        """
        width = self.nbytes // self.element.itemsize // max(self.row_count, 1)
        rows = np.empty((stop - start, width), self.element)
        begin = self.offset + start * width * self.element.itemsize
        nbytes = read_into(self.path, begin, rows.reshape(-1).view(np.uint8)) if rows.size else 0
        if nbytes != rows.nbytes:
            raise FormatError(
                f"{self.path}: tensor {quoted(self.name)} needs {rows.nbytes} bytes at {begin}, "
                f"the file ends after {nbytes}"
            )
        return rows


def refuse_repeated(tensors: Iterable[StoredTensor]) -> None:
    """FormatError when two files of one model hold a tensor of the same name."""
    first: dict[str, StoredTensor] = {}
    for tensor in tensors:
        other = first.setdefault(tensor.name, tensor)
        if other is not tensor:
            raise FormatError(f"{tensor.path}: tensor {quoted(tensor.name)} is also in {quoted(other.path.name)}")

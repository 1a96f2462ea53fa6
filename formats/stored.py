"""The description of a tensor in a file, which reads its rows on request."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import read_into, read_segments_into

ELEMENT = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype("u1"),  # a power of two; ml_dtypes before 0.5 does not have it
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

_READ_ALONG_NBYTES = 8 << 10
"""A call of the system takes as long as reading so many bytes from the page cache."""
_STRIP_NBYTES = 4 << 20


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

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.nbytes // self.element.itemsize // max(self.row_count, 1)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) as (stop - start, columns) of `element`; FormatError if the file ends before them.

        Reads into memory of its own instead of mapping the file: a mapped page counts as the process's own
        while it is resident, and a file cut short under a mapping kills the process.
        """
        return self.elements(start * self.width, stop * self.width).reshape(stop - start, self.width)

    def elements(self, start: int, stop: int) -> np.ndarray:
        """Elements [start, stop) of all rows one after the other, (stop - start,); FormatError as `rows`."""
        values = np.empty(stop - start, self.element)
        begin = self.offset + start * self.element.itemsize
        nbytes = read_into(self.path, begin, values.view(np.uint8)) if values.size else 0
        self._refuse_end(values.nbytes, begin, nbytes)
        return values

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Columns [start, stop) of all rows, (row_count, stop - start); FormatError as `rows`.

        What lies between is read along where that takes less time than as many reads, in strips of a few MiB.
        """
        gap = (self.width - (stop - start)) * self.element.itemsize
        if gap > _READ_ALONG_NBYTES:
            values = np.empty((self.row_count, stop - start), self.element)
            begin, stride = self.offset + start * self.element.itemsize, self.width * self.element.itemsize
            nbytes = read_segments_into(self.path, begin, stride, values.view(np.uint8)) if values.size else 0
            self._refuse_end(values.nbytes, begin, nbytes)
            return values
        strip = max(1, _STRIP_NBYTES // max(1, self.width * self.element.itemsize))
        firsts = range(0, max(1, self.row_count), strip)
        parts = [self.rows(first, min(first + strip, self.row_count))[:, start:stop] for first in firsts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _refuse_end(self, needed: int, begin: int, nbytes: int) -> None:
        if nbytes != needed:
            raise FormatError(
                f"{self.path}: tensor {quoted(self.name)} needs {needed} bytes at {begin}, the file ends after {nbytes}"
            )


def refuse_repeated(tensors: Iterable[StoredTensor]) -> None:
    """FormatError when two files of one model hold a tensor of the same name."""
    first: dict[str, StoredTensor] = {}
    for tensor in tensors:
        other = first.setdefault(tensor.name, tensor)
        if other is not tensor:
            raise FormatError(f"{tensor.path}: tensor {quoted(tensor.name)} is also in {quoted(other.path.name)}")

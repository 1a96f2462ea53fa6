"""A weight matrix, left in its file as it is stored, and multiplied from there."""

import mmap
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from quantize_cli import dots
from quantize_cli.formats.ggml import GgmlType, row_nbytes
from quantize_cli.model.tensor import Tensor
from quantize_cli.quants import decode
from quantize_cli.runtime.activations import quantize_activations
from quantize_cli.runtime.damage import refuse_damaged
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Recorder

_BLOCK = 1 << 23
"""Weights decoded at once where a type has no product of its own: 32 MiB of float32."""
_COPIED = 1 << 18
"""Bytes copied before they are looked at, while a core still has them at hand."""


class Product(Protocol):
    """What multiplies activations with the rows of a tensor."""

    @property
    def tensor(self) -> Tensor: ...

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        """Append the product with activations (n, columns) f32; gives where it will lie, (n, rows) f32."""


class Matrix:
    """The weights of `tensor` (rows, columns). What a file does not hold in this order is kept in memory as stored."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._stored: np.ndarray | None = None

    @property
    def stored(self) -> np.ndarray:
        """The rows as they are stored, u8 (rows, row bytes)."""
        if self._stored is None:
            tensor = self.tensor
            if tensor.stored_at is None:
                self._stored = np.ascontiguousarray(tensor.read(0, tensor.row_count)).view(np.uint8)
                refuse_damaged(tensor, self._stored)
            else:
                path, offset = tensor.stored_at
                nbytes = row_nbytes(tensor.type, tensor.columns)
                self._stored = np.frombuffer(_file(path), np.uint8, tensor.row_count * nbytes, offset)
                self._stored = self._stored.reshape(-1, nbytes)
        return self._stored

    def move(self, memory: np.ndarray) -> None:
        """Copy the rows to `memory` u8 (rows, row bytes), and use them there; InputError unless all are finite."""
        step = max(1, _COPIED // self.stored.shape[1])
        for start in range(0, len(memory), step):
            part = slice(start, start + step)
            np.copyto(memory[part], self.stored[part])
            refuse_damaged(self.tensor, memory[part], start)
        self._stored = memory

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        out = recorder.array(len(x), self.tensor.row_count)
        dot = dots.find(self.tensor.type)
        if dot is None:
            threads = recorder.threads  # a recording that refers to itself would stay in memory for a while
            recorder.call(lambda: self._multiply(x, out, threads))
        else:
            recorder.multiply(self.stored, dot, x, out)
        return out

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows `indices` (n,) as (n, columns) f32."""
        return decode(self.tensor.type, self.stored[indices])

    def _multiply(self, x: np.ndarray, out: np.ndarray, threads: Threads) -> None:
        """The product by way of float32, some rows at a time."""
        x = np.ascontiguousarray(quantize_activations(x, self.tensor.type))
        step, dot = max(1, _BLOCK // self.tensor.columns), dots.find(GgmlType.F32)
        assert dot is not None
        for start in range(0, len(self.stored), step):
            weights = decode(self.tensor.type, self.stored[start : start + step])
            recorder, part = Recorder(threads), np.empty((len(x), len(weights)), np.float32)
            recorder.multiply(weights.view(np.uint8), dot, x, part)
            recorder.run()
            out[:, start : start + step] = part


def _file(path: Path) -> mmap.mmap:
    status = path.stat()
    return _opened(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _opened(path: Path, *identity: int) -> mmap.mmap:
    """A file, which another may replace under the same name."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def release(path: Path) -> None:
    """Give up the memory that mapped pages of a file take; they are read again when they are used again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        _file(path).madvise(mmap.MADV_DONTNEED)

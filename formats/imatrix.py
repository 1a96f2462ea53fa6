"""Importance matrices as llama.cpp writes them: a GGUF of sums and counts, and the older .dat of means.

    GGUF    general.type = "imatrix"; per weight NAME the float32 tensors NAME.in_sum2 (matrices, columns), sums of
            squared activations, and NAME.counts (matrices, 1), how many went into each row of sums
    .dat    i32 entries; per entry i32 name length, name, i32 calls, i32 values, float32 values (a mean times calls);
            then perhaps i32 last chunk, i32 length, name of the calibration text

Source: common/imatrix-loader.cpp.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from formats.errors import FormatError
from formats.gguf.layout import MAGIC
from formats.gguf.reader import GgufFile, read_gguf
from formats.quoted import quoted
from formats.source import open_input, size_of

_SUMS, _COUNTS = ".in_sum2", ".counts"
_HINT = "an importance matrix is an imatrix.gguf or .dat made by llama-imatrix"


@dataclass(frozen=True)
class ImportanceFile:
    """Mean squared activations by weight name, (matrices, columns) f32, and what the file says of their origin.

    The .dat format does not say how many matrices a row of values belongs to: there `matrices` is 1 and a stack of
    experts stands in one row.
    """

    means: dict[str, np.ndarray]
    datasets: tuple[str, ...]
    chunks: int


def read_imatrix(path: Path) -> ImportanceFile:
    """An importance matrix in either format; FormatError for one that is damaged, empty, negative or not finite."""
    with open_input(path) as file:
        is_gguf = file.read(4) == MAGIC
        file.seek(0)
        found = _from_gguf(path) if is_gguf else _from_dat(path, file)
    if not found.means:
        raise FormatError(f"{path}: no importance in it", _HINT)
    for name, means in found.means.items():
        if not (means.size and np.isfinite(means).all() and (means >= 0).all()):
            raise FormatError(f"{path}: the importance of {quoted(name)} is empty, negative or not finite")
    return found


def _from_gguf(path: Path) -> ImportanceFile:
    file = read_gguf(path)
    kind = file.metadata.get("general.type")
    if kind is None or kind.data != "imatrix":
        raise FormatError(f"{path}: a gguf file, but its general.type is not 'imatrix'", _HINT)
    stored = {tensor.name: tensor for tensor in file.tensors}
    means = {}
    for name, tensor in stored.items():
        if not name.endswith(_SUMS):
            continue
        counts = stored.get(name.removesuffix(_SUMS) + _COUNTS)
        if counts is None or tensor.dtype != "F32" or counts.dtype != "F32" or prod(counts.shape) != tensor.row_count:
            raise FormatError(f"{path}: {quoted(name)} has no float32 counts of as many matrices beside it")
        sums, count = tensor.rows(0, tensor.row_count), counts.rows(0, counts.row_count).reshape(-1, 1)
        if not (np.isfinite(count).all() and (count >= 0).all()):
            raise FormatError(f"{path}: {quoted(counts.name)} is negative or not finite")
        means[name.removesuffix(_SUMS)] = _mean(sums, np.floor(count + np.float32(0.5)))
    return ImportanceFile(means, _datasets(file), _number(file, "imatrix.chunk_count"))


def _mean(sums: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Sums over whole counts; ones for a matrix that no token reached (load_imatrix)."""
    safe: np.ndarray = np.where(count > 0, sums / np.where(count > 0, count, 1), np.float32(1))
    return safe


def _datasets(file: GgufFile) -> tuple[str, ...]:
    value = file.metadata.get("imatrix.datasets")
    return tuple(str(item) for item in value.data) if value is not None and isinstance(value.data, list) else ()


def _number(file: GgufFile, key: str) -> int:
    value = file.metadata.get(key)
    return value.data if value is not None and isinstance(value.data, int) else 0


def _from_dat(path: Path, file: BinaryIO) -> ImportanceFile:
    size = size_of(file)

    def take(nbytes: int, what: str) -> bytes:
        if not 0 <= nbytes <= size - file.tell():
            raise FormatError(f"{path}: {what} of {nbytes} bytes at byte {file.tell()}, the file ends at {size}", _HINT)
        return file.read(nbytes)

    def integer(what: str) -> int:
        number: int = struct.unpack("<i", take(4, what))[0]
        return number

    means = {}
    for _ in range(integer("the number of entries")):
        try:
            name = take(integer("the length of a name"), "a name").decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: a name is not UTF-8 at its byte {error.start}") from error
        calls = integer(f"the calls of {quoted(name)}")
        values = np.frombuffer(take(4 * integer("the number of values"), f"the values of {quoted(name)}"), "<f4")
        if name in means:
            raise FormatError(f"{path}: {quoted(name)} is there twice")
        means[name] = (values / np.float32(calls) if calls > 0 else values)[None]
    chunks = integer("the last chunk") if file.tell() < size else 0
    if file.tell() == size:
        return ImportanceFile(means, (), chunks)
    dataset = take(integer("the length of a name"), "the name of the text").decode(errors="replace")
    return ImportanceFile(means, (dataset,) if dataset else (), chunks)

"""The header of a GGUF file: metadata, and descriptions of the tensors (ggml/docs/gguf.md). Trusts nothing.

It refuses whatever llama.cpp's reader refuses (ggml/src/gguf.cpp), and each message names the byte.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.file_kind import refuse_wrong_kind
from quantize_cli.formats.ggml import REMOVED_TYPES, GgmlType
from quantize_cli.formats.gguf import rules
from quantize_cli.formats.gguf.cursor import Cursor
from quantize_cli.formats.gguf.layout import MAGIC, TensorInfo, Value, ValueType
from quantize_cli.formats.memory_limit import TENSOR_MEMORY_NBYTES, refuse_too_many
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import open_input, size_of
from quantize_cli.formats.stored import ELEMENT, StoredTensor

READABLE_VERSIONS = (2, 3)

_SMALLEST_FILE_NBYTES = 24
_PARTS_HINT = "a later part of a file that was cut into pieces is joined to the first: cat PART-a PART-b > WHOLE.gguf"
_CUT_HINT = "its download was cut short, or it is the first of several pieces to be joined by cat"
_SMALLEST_VALUE_NBYTES = 14
"""A key of one letter, a type and one byte."""
_SMALLEST_TENSOR_NBYTES = 24
"""An empty name, no dimensions, a type and an offset."""

_VALUE_MEMORY_NBYTES = 1000
"""A key and a value in memory, twice."""

_BLOCK_BYTES = np.dtype("u1")


@dataclass(frozen=True)
class GgufFile:
    """The header of one file."""

    path: Path
    version: int
    metadata: dict[str, Value]
    """In the file's order. Arrays of numbers are read-only numpy arrays, arrays of strings are lists."""
    tensors: tuple[StoredTensor, ...]
    """In the file's order, which is the order of their data."""
    alignment: int
    data_offset: int
    """Where the first tensor begins, from the start of the file."""


def read_gguf(path: Path) -> GgufFile:
    """The header of a file; no tensor data is read. FormatError for whatever llama.cpp would refuse.

    One file of several (`split.count`) is read like any other.
    """
    with open_input(path) as file:
        size = size_of(file)
        if size < _SMALLEST_FILE_NBYTES:
            raise FormatError(f"{path}: {size} bytes, a gguf file has at least {_SMALLEST_FILE_NBYTES}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(Cursor(path, data))


def _read(cursor: Cursor) -> GgufFile:
    source = f"{cursor.path}: "
    version = _version(cursor)
    tensor_count = cursor.number("Q", "tensor count")
    value_count = cursor.number("Q", "metadata count")
    metadata = _metadata(cursor, value_count)
    alignment = rules.alignment_of(source, metadata)
    infos = _infos(cursor, tensor_count)
    data_offset = rules.padded(cursor.position, alignment)
    tensors = _stored(cursor, infos, data_offset, alignment)
    return GgufFile(cursor.path, version, metadata, tensors, alignment, data_offset)


def _version(cursor: Cursor) -> int:
    magic = cursor.take(len(MAGIC), "magic")
    if magic != MAGIC:
        refuse_wrong_kind(cursor.path)
        raise FormatError(f"{cursor.path}: begins with {magic!r}, a gguf file with {MAGIC!r}", hint=_PARTS_HINT)
    version: int = cursor.number("I", "version")
    if version not in READABLE_VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if 0 < swapped < 1 << 16 <= version:
            raise FormatError(f"{cursor.path}: a big-endian gguf file of version {swapped}, only little-endian is read")
        readable = " and ".join(map(str, READABLE_VERSIONS))
        raise FormatError(f"{cursor.path}: gguf version {version}, readable are {readable}")
    return version


def _metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    _refuse_count(cursor, count, "metadata values", _SMALLEST_VALUE_NBYTES)
    refuse_too_many(f"{cursor.path}: ", count, "metadata values", _VALUE_MEMORY_NBYTES, cursor.size)
    metadata: dict[str, Value] = {}
    for index in range(count):
        key = cursor.string(f"metadata key {index}")
        rules.check_key(f"{cursor.path}: ", key)
        if key in metadata:
            raise FormatError(f"{cursor.path}: metadata key {quoted(key)} occurs again as number {index}")
        metadata[key] = _value(cursor, f"metadata {quoted(key)}")
    return metadata


def _refuse_count(cursor: Cursor, count: int, what: str, smallest: int) -> None:
    """FormatError for a count of items that the remaining bytes cannot hold."""
    if count * smallest > cursor.remaining:
        raise FormatError(
            f"{cursor.path}: {count} {what} need at least {count * smallest} bytes at {cursor.position}, "
            f"{cursor.remaining} are left"
        )


def _value(cursor: Cursor, what: str) -> Value:
    type_ = _value_type(cursor, what)
    if type_ is not ValueType.ARRAY:
        item = _items(cursor, type_, 1, what)[0]
        return Value(type_, item if isinstance(item, str) else item.item())
    element = _value_type(cursor, what)
    if element is ValueType.ARRAY:
        raise FormatError(f"{cursor.path}: {what} is an array of arrays")
    count = cursor.number("Q", what)
    if count > rules.MAX_ARRAY_ITEMS:
        raise FormatError(f"{cursor.path}: {what} has {count} items, at most {rules.MAX_ARRAY_ITEMS} are allowed")
    return Value(type_, _items(cursor, element, count, what), element)


def _value_type(cursor: Cursor, what: str) -> ValueType:
    number = cursor.number("I", what)
    try:
        return ValueType(number)
    except ValueError as error:
        raise FormatError(f"{cursor.path}: {what} is of type {number}, known are 0 to {max(ValueType)}") from error


def _items(cursor: Cursor, element: ValueType, count: int, what: str) -> list[str] | np.ndarray:
    if element is ValueType.STRING:
        return cursor.strings(count, what)
    if element is ValueType.BOOL:
        stored = cursor.numbers("B", count, what)
        if count and stored.max() > 1:
            raise FormatError(f"{cursor.path}: {what} is a bool of {stored.max()}, only 0 and 1 are")
        return stored.view(np.bool_)
    return cursor.numbers(rules.NUMBER[element], count, what)


def _infos(cursor: Cursor, count: int) -> list[tuple[TensorInfo, int]]:
    """The table of contents: each tensor with its stored offset."""
    _refuse_count(cursor, count, "tensors", _SMALLEST_TENSOR_NBYTES)
    refuse_too_many(f"{cursor.path}: ", count, "tensors", TENSOR_MEMORY_NBYTES, cursor.size)
    infos: dict[str, tuple[TensorInfo, int]] = {}
    for index in range(count):
        info = _info(cursor, index)
        if info.name in infos:
            raise FormatError(f"{cursor.path}: tensor name {quoted(info.name)} occurs again as number {index}")
        infos[info.name] = info, cursor.number("Q", f"offset of tensor {quoted(info.name)}")
    return list(infos.values())


def _info(cursor: Cursor, index: int) -> TensorInfo:
    source = f"{cursor.path}: "
    name = cursor.string(f"name of tensor {index}")
    rules.check_name(source, name, len(name.encode()))
    what = f"tensor {quoted(name)}"
    dimension_count = cursor.number("I", what)
    rules.check_dimension_count(source, name, dimension_count)
    stored_shape = cursor.numbers("Q", dimension_count, what).tolist()
    number = cursor.number("I", what)
    if number in REMOVED_TYPES:
        raise FormatError(f"{source}{what} is of type {number}, which the format no longer has")
    try:
        type_ = GgmlType(number)
    except ValueError as error:
        raise FormatError(f"{source}{what} is of type {number}, known are 0 to {max(GgmlType)}") from error
    return TensorInfo(name, tuple(reversed(stored_shape)), type_)


def _stored(
    cursor: Cursor, infos: list[tuple[TensorInfo, int]], data_offset: int, alignment: int
) -> tuple[StoredTensor, ...]:
    """The tensors with their positions: one after the other, each padded to the alignment, all within the file."""
    source = f"{cursor.path}: "
    expected = 0
    tensors = []
    for info, offset in infos:
        nbytes = rules.checked_nbytes(source, info)
        if offset != expected:
            raise FormatError(f"{source}tensor {quoted(info.name)} begins at {offset} of the data, expected {expected}")
        begin = data_offset + offset
        if begin + nbytes > cursor.size:
            ends = f"ends at byte {begin + nbytes}, file at {cursor.size}"
            raise FormatError(f"{source}tensor {quoted(info.name)} {ends}", hint=_CUT_HINT)
        element = ELEMENT.get(info.type.name, _BLOCK_BYTES)
        tensors.append(StoredTensor(info.name, info.shape, info.type.name, cursor.path, begin, nbytes, element))
        expected += rules.padded(nbytes, alignment)
    return tuple(tensors)

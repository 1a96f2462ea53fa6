"""The complete header of a GGUF file, offsets included, before any tensor is made (ggml/docs/gguf.md)."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf import rules
from quantize_cli.formats.gguf.layout import MAGIC, VERSION, TensorInfo, Value, ValueType
from quantize_cli.formats.quoted import quoted

_U32 = struct.Struct("<I").pack
_U64 = struct.Struct("<Q").pack


@dataclass(frozen=True)
class FileLayout:
    """Where everything goes. Any worker can write any tensor at its offset; the bytes between are zeros."""

    header: bytes
    """From the magic to the padding before the first tensor."""
    offsets: tuple[int, ...]
    """From the start of the file, in the order of the tensors."""
    nbytes: int
    """Of the file: the last tensor is padded like the others."""


def lay_out(metadata: Mapping[str, Value], tensors: Sequence[TensorInfo]) -> FileLayout:
    """The layout of a file with these, in their order; FormatError for what a reader would refuse.

    Tensors are aligned to the metadata's `general.alignment`, or to 32.
    """
    alignment = rules.alignment_of("", metadata)
    parts = [MAGIC, _U32(VERSION), _U64(len(tensors)), _U64(len(metadata))]
    for key, value in metadata.items():
        rules.check_key("", key)
        what = f"metadata {quoted(key)}"
        parts += [_strings([key], what), _U32(value.type), _encode(value, what)]
    nbytes = 0
    begins: list[int] = []
    names: set[str] = set()
    for info in tensors:
        if info.name in names:
            raise FormatError(f"tensor name {quoted(info.name)} occurs again as number {len(begins)}")
        names.add(info.name)
        begins.append(nbytes)
        nbytes += rules.padded(rules.checked_nbytes("", info), alignment)
        parts.append(_entry(info, begins[-1]))
    header = b"".join(parts)
    data_offset = rules.padded(len(header), alignment)
    if data_offset + nbytes >= 1 << 63:
        raise FormatError(f"the file would have {data_offset + nbytes} bytes, a size must fit 63 bits")
    return FileLayout(header.ljust(data_offset, b"\0"), tuple(data_offset + b for b in begins), data_offset + nbytes)


def _entry(info: TensorInfo, offset: int) -> bytes:
    """A tensor's entry in the table of contents; the row length is stored first."""
    name = _strings([info.name], f"tensor name {quoted(info.name)}")
    rules.check_name("", info.name, len(name) - len(_U64(0)))
    rules.check_dimension_count("", info.name, len(info.shape))
    dimensions = struct.pack(f"<{len(info.shape)}Q", *reversed(info.shape))
    return name + _U32(len(info.shape)) + dimensions + _U32(info.type) + _U64(offset)


def _encode(value: Value, what: str) -> bytes:
    """A value's bytes, without its type."""
    if value.type is not ValueType.ARRAY:
        return _items(value.type, [value.data], what)
    if value.element is None or value.element is ValueType.ARRAY:
        raise FormatError(f"{what} is an array of {'arrays' if value.element else 'no type'}")
    if len(value.data) > rules.MAX_ARRAY_ITEMS:
        raise FormatError(f"{what} has {len(value.data)} items, at most {rules.MAX_ARRAY_ITEMS} are allowed")
    return _U32(value.element) + _U64(len(value.data)) + _items(value.element, value.data, what)


def _items(type_: ValueType, items: Sequence[Any] | np.ndarray, what: str) -> bytes:
    if type_ is ValueType.STRING:
        return _strings(items, what)
    if type_ is ValueType.BOOL:
        _require(items, what, "true or false", lambda item: isinstance(item, (bool, np.bool_)))
        return bytes(map(int, items))
    if isinstance(items, np.ndarray):
        if items.dtype == np.dtype("<" + rules.NUMBER[type_]):
            return items.tobytes()
        items = items.tolist()
    try:
        return struct.pack(f"<{len(items)}{rules.NUMBER[type_]}", *items)
    except (struct.error, OverflowError) as error:
        raise FormatError(f"{what} holds what does not fit {type_.name.lower()}: {error}") from error


def _strings(items: Sequence[str] | np.ndarray, what: str) -> bytes:
    """Each a length and UTF-8. One flat loop, as a vocabulary has half a million."""
    _require(items, what, "text", lambda item: isinstance(item, str))
    parts = []
    for item in items:
        try:
            encoded = item.encode()
        except UnicodeEncodeError as error:
            raise FormatError(f"{what} holds {quoted(item)}, no unicode at character {error.start}") from error
        if len(encoded) > rules.MAX_STRING_NBYTES:
            raise FormatError(f"{what} has {len(encoded)} bytes, at most {rules.MAX_STRING_NBYTES} are allowed")
        parts += [_U64(len(encoded)), encoded]
    return b"".join(parts)


def _require(items: Sequence[Any] | np.ndarray, what: str, expected: str, holds: Callable[[Any], bool]) -> None:
    for index, item in enumerate(items):
        if not holds(item):
            raise FormatError(f"{what} holds a {type(item).__name__} at {index}, not {expected}")

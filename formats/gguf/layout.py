"""The parts of a GGUF file: typed metadata values and tensor descriptions (ggml/docs/gguf.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Any

from quantize_cli.formats.ggml import GgmlType, row_nbytes

MAGIC = b"GGUF"
VERSION = 3


class ValueType(IntEnum):
    """Types of metadata values by the number a file stores (enum gguf_type)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True)
class Value:
    """One metadata value with the type it has in the file.

    `data` is an int, float, bool or str, or for an ARRAY a sequence of them, all of type `element`.
    """

    type: ValueType
    data: Any
    element: ValueType | None = None


def u32(number: int) -> Value:
    return Value(ValueType.UINT32, int(number))


def f32(number: float) -> Value:
    return Value(ValueType.FLOAT32, float(number))


def flag(truth: bool) -> Value:
    return Value(ValueType.BOOL, bool(truth))


def text(characters: str) -> Value:
    return Value(ValueType.STRING, characters)


def array(element: ValueType, items: Sequence[Any]) -> Value:
    return Value(ValueType.ARRAY, items, element)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in the file's table of contents. `shape` is row-major; the file stores it reversed."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * row_nbytes(self.type, self.shape[-1] if self.shape else 1)

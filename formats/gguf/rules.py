"""The rules of a valid GGUF file that reader and writer share (ggml/src/gguf.cpp).

`source` begins the message of each FormatError: the file and ": " when reading, nothing when writing.
"""

from collections.abc import Mapping
from math import prod

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import TensorInfo, Value, ValueType
from quantize_cli.formats.quoted import quoted

ALIGNMENT_KEY = "general.alignment"
DEFAULT_ALIGNMENT = 32
MAX_NAME_NBYTES = 63
"""llama.cpp keeps a tensor name in 64 bytes, the last of which is zero (GGML_MAX_NAME)."""
MAX_DIMENSIONS = 4
MAX_STRING_NBYTES = 1 << 30
MAX_ARRAY_ITEMS = 1 << 30
MAX_ALIGNMENT = 1 << 20
"""Larger than any page of memory. The header is padded to it."""

NUMBER = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""The letter of each number type in `struct` and numpy, behind a "<"."""


def padded(nbytes: int, alignment: int) -> int:
    """The next multiple of `alignment`."""
    return -(-nbytes // alignment) * alignment


def alignment_of(source: str, metadata: Mapping[str, Value]) -> int:
    """The number that divides every tensor's offset."""
    value = metadata.get(ALIGNMENT_KEY)
    if value is None:
        return DEFAULT_ALIGNMENT
    if value.type is not ValueType.UINT32:
        raise FormatError(f"{source}'{ALIGNMENT_KEY}' is of type {value.type.name.lower()}, not uint32")
    alignment = int(value.data)
    if alignment <= 0 or alignment & (alignment - 1):
        raise FormatError(f"{source}'{ALIGNMENT_KEY}' is {alignment}, not a power of two")
    if alignment > MAX_ALIGNMENT:
        raise FormatError(f"{source}'{ALIGNMENT_KEY}' is {alignment}, at most {MAX_ALIGNMENT} is allowed")
    return alignment


def check_key(source: str, key: str) -> None:
    if not key:
        raise FormatError(f"{source}a metadata key is empty")


def check_name(source: str, name: str, nbytes: int) -> None:
    """FormatError for a name that llama.cpp cannot hold. It cuts names at a zero byte, so two could become one."""
    if nbytes > MAX_NAME_NBYTES:
        raise FormatError(f"{source}tensor name {quoted(name)} has {nbytes} bytes, at most {MAX_NAME_NBYTES} fit")
    if "\0" in name:
        raise FormatError(f"{source}tensor name {quoted(name)} has a zero byte at {name.index(chr(0))}")


def check_dimension_count(source: str, name: str, count: int) -> None:
    if count > MAX_DIMENSIONS:
        raise FormatError(f"{source}tensor {quoted(name)} has {count} dimensions, at most {MAX_DIMENSIONS} are allowed")


def checked_nbytes(source: str, info: TensorInfo) -> int:
    """Bytes of the tensor's data; FormatError when these do not fit 63 bits, or a row does not fill its blocks."""
    where = f"{source}tensor {quoted(info.name)}"
    if any(n < 0 for n in info.shape) or prod(int(n) or 1 for n in info.shape) >= 1 << 63:
        raise FormatError(f"{where} has shape {list(info.shape)}, its element count does not fit 63 bits")
    try:
        return info.nbytes
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error

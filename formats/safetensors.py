"""The header of a safetensors file, checked in full before any tensor is read.

An eight-byte length, that many bytes of JSON, then the tensors without holes. We check what the format's own library
checks (safetensors/src/tensor.rs), and what it leaves to its JSON parser. The library says only that an offset is
invalid; our errors name the tensor and both numbers, and our limit of memory holds before the JSON is parsed. Then the
library opens the file too, as transformers cannot load what it refuses. StoredTensor reads the data, because the
library's slices map the file: a mapped page counts as memory of the process, and a file cut short ends the process.
"""

from math import prod
from pathlib import Path
from typing import Any

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.file_kind import HEAD_NBYTES, refuse_wrong_kind
from quantize_cli.formats.json_object import parse_object
from quantize_cli.formats.memory_limit import TENSOR_MEMORY_NBYTES, allowed_memory, refuse_too_many
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import open_input, size_of
from quantize_cli.formats.stored import ELEMENT, StoredTensor

MAX_HEADER_NBYTES = 100_000_000
MAX_DIMENSIONS = 32
"""As many as every numpy can hold. The product of a million dimensions would take for ever."""

_LENGTH_NBYTES = 8
_CUT_SHORT = "its download was cut short: download it anew"
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """A file's tensors in the order of their data; FormatError for whatever the format does not allow."""
    with open_input(path) as file:
        size = size_of(file)
        head = file.read(HEAD_NBYTES)
        if head[_LENGTH_NBYTES : _LENGTH_NBYTES + 1] != b"{":
            refuse_wrong_kind(path, head)
        length = int.from_bytes(head[:_LENGTH_NBYTES], "little")
        begin = _LENGTH_NBYTES + length
        if size < _LENGTH_NBYTES:
            least = f"a safetensors file has at least {_LENGTH_NBYTES}"
            raise FormatError(f"{path}: {size} bytes, {least}", hint=_CUT_SHORT)
        if length > MAX_HEADER_NBYTES:
            raise FormatError(f"{path}: header of {length} bytes, at most {MAX_HEADER_NBYTES} are allowed")
        if begin > size:
            raise FormatError(f"{path}: header ends at byte {begin}, file at {size}", hint=_CUT_SHORT)
        file.seek(_LENGTH_NBYTES)
        text = file.read(length)
    if not text.startswith(b"{"):
        raise FormatError(f"{path}: header begins with {text[:1]!r}, not {b'{'!r}")
    entries = parse_object(f"{path}: header", text, unique_keys=True, memory_nbytes=allowed_memory(size))
    _check_metadata(path, entries.pop("__metadata__", {}))
    refuse_too_many(f"{path}: ", len(entries), "tensors", TENSOR_MEMORY_NBYTES, size)
    tensors = [_tensor(path, begin, name, entry) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _refuse_holes(path, begin, size, tensors)
    _refuse_as_the_library(path)
    return tuple(tensors)


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a file of which `read_header` has read the tensors holds beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path}: the safetensors library refuses it: {error}") from error


def _refuse_as_the_library(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path}: the safetensors library refuses it: {error}") from error


def _check_metadata(path: Path, metadata: Any) -> None:
    if not isinstance(metadata, dict):
        raise FormatError(f"{path}: '__metadata__' is a json {type(metadata).__name__}, not an object")
    for key, value in metadata.items():
        if not isinstance(value, str):
            kind = type(value).__name__
            raise FormatError(f"{path}: '__metadata__' key {quoted(key)} is a json {kind}, not a string")


def _tensor(path: Path, begin: int, name: str, entry: Any) -> StoredTensor:
    """One entry of the header as a tensor; the data of the file begins at byte `begin`."""
    where = f"{path}: tensor {quoted(name)}"
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_KEYS:
        keys = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
        raise FormatError(f"{where} has {quoted(str(keys))}, not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT:
        raise FormatError(f"{where} has unknown dtype {quoted(str(dtype))}")
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS or prod(n or 1 for n in shape) >= 1 << 63:
        raise FormatError(f"{where} has shape {quoted(str(shape))}, not the dimensions of an array")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise FormatError(f"{where} has data_offsets {quoted(str(offsets))}, not two byte counts")
    first, last = offsets
    element = ELEMENT[dtype]
    nbytes = prod(shape) * element.itemsize
    if last < first:
        raise FormatError(f"{where} ends at {last}, before it begins at {first}")
    if last - first != nbytes:
        raise FormatError(f"{where} has {last - first} bytes, shape {shape} of {dtype} needs {nbytes}")
    return StoredTensor(name, tuple(shape), dtype, path, begin + first, nbytes, element)


def _are_counts(values: Any) -> bool:
    """Whether this is a list of non-negative integers, which `true` is not, though Python counts it as one."""
    return isinstance(values, list) and all(type(item) is int and item >= 0 for item in values)


def _refuse_holes(path: Path, begin: int, size: int, tensors: list[StoredTensor]) -> None:
    """FormatError unless every byte of the data belongs to exactly one tensor; other bytes could hide an attack."""
    end = begin
    for tensor in tensors:
        if tensor.offset != end:
            problem = "overlaps the one before it" if tensor.offset < end else "leaves a hole before it"
            raise FormatError(
                f"{path}: tensor {quoted(tensor.name)} begins at byte {tensor.offset - begin} of the data, "
                f"expected {end - begin}: it {problem}"
            )
        end += tensor.nbytes
    if end != size:
        hint = _CUT_SHORT if end > size else None
        raise FormatError(f"{path}: tensors end at byte {end}, file at {size}", hint=hint)

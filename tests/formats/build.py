"""Files built byte by byte, valid or hostile, independently of the code under test."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_bytes(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, its stated length right unless `length` says another."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A valid file of F32 tensors, every value zero."""
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, path)
    return path


UINT8, UINT32, FLOAT32, BOOL, STRING, ARRAY = 0, 4, 6, 7, 8, 9


def string(text: str | bytes) -> bytes:
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded)) + encoded


def value(key: str | bytes, type_: int, stored: bytes) -> bytes:
    return string(key) + struct.pack("<I", type_) + stored


def array(key: str, element: int, count: int, stored: bytes) -> bytes:
    return value(key, ARRAY, struct.pack("<IQ", element, count) + stored)


def tensor(name: str | bytes, dimensions: list[int], offset: int, type_: int = 0) -> bytes:
    """A line of the table of contents, dimensions in the file's order: row first."""
    return string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, type_, offset)


def gguf_bytes(
    values: list[bytes] = [],  # noqa: B006
    tensors: list[bytes] = [],  # noqa: B006
    data: bytes = b"",
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A file of these parts, its counts right unless `counts` (tensors, values) says others."""
    tensor_count, value_count = counts or (len(tensors), len(values))
    header = magic + struct.pack("<IQQ", version, tensor_count, value_count) + b"".join(values + tensors)
    return header + bytes(-len(header) % alignment) + data

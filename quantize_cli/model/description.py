"""A model file as one dictionary: metadata, and each tensor's type, shape, size and offset."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from numpy import float32

from quantize_cli.certificate import statement
from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.gguf.layout import ValueType
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.shards import refuse_concatenated


def describe(path: Path) -> dict[str, Any]:
    """The header of a .gguf or .safetensors file, or of a checkpoint directory; no weight is read.

    FormatError when the file is invalid. The keys are those of `quantize inspect --json`.
    """
    return _gguf(path) if is_gguf(path) else _checkpoint(path)


def _gguf(path: Path) -> dict[str, Any]:
    file = read_gguf(path)
    refuse_concatenated(file)
    metadata = {key: _plain(value) for key, value in file.metadata.items()}
    return _document(path, f"GGUF v{file.version}", metadata, file.tensors, _claims(file))


def _claims(file: Any) -> dict[str, Any] | None:
    """The keys of the file's certificate; None without one, or when it is malformed."""
    try:
        return statement.read(str(file.path), file.metadata).stated()
    except InputError:
        return None


def _plain(value: Any) -> Any:
    """A metadata value as people write it: 1e-05, not the double nearest to the stored float32."""
    return float(str(float32(value.data))) if value.type is ValueType.FLOAT32 else value.data


def _checkpoint(path: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(path)
    return _document(path, "safetensors", checkpoint.config or {}, checkpoint.tensors)


def _document(
    path: Path, kind: str, metadata: dict[str, Any], tensors: Sequence[Any], claims: dict[str, Any] | None = None
) -> dict[str, Any]:
    weights, nbytes = sum(prod(t.shape) for t in tensors), sum(t.nbytes for t in tensors)
    files = {path} if path.is_file() else {tensor.path for tensor in tensors}
    types: dict[str, int] = {}
    for tensor in tensors:
        types[tensor.dtype] = types.get(tensor.dtype, 0) + 1
    return {
        "path": str(path), "format": kind, "nbytes": sum(file.stat().st_size for file in files),
        "weights": weights, "bits_per_weight": 8 * nbytes / weights if weights else 0.0, "types": types,
        "certificate": claims, "metadata": metadata,
        "tensors": [
            {"name": t.name, "shape": t.shape, "type": t.dtype, "nbytes": t.nbytes, "offset": t.offset} for t in tensors
        ],
    }  # fmt: skip

"""quantize inspect: what a model file says."""

import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

from quantize_cli.cli.terminal.options import Json

_SHOWN_ITEMS = 4
_SHOWN_CHARACTERS = 70


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .gguf or .safetensors file, or a checkpoint directory.")
    ],
    json: Json = False,
) -> None:
    """Show the metadata and tensors of FILE: types, shapes, sizes, bits per weight."""
    from quantize_cli.cli.terminal.text import print_json
    from quantize_cli.formats.gguf.magic import is_gguf

    document = _gguf(file) if is_gguf(file) else _checkpoint(file)
    if json:
        print_json(document)
    else:
        _print(document)


def _gguf(path: Path) -> dict[str, Any]:
    from quantize_cli.formats.gguf.reader import read_gguf
    from quantize_cli.formats.gguf.shards import refuse_joined

    found = read_gguf(path)
    refuse_joined(found)
    metadata = {key: _plain(value) for key, value in found.metadata.items()}
    return _document(path, f"GGUF v{found.version}", metadata, found.tensors, _claims(found))


def _claims(file: Any) -> dict[str, Any] | None:
    """What the file's certificate states, by its keys; None without a certificate, or with a malformed one."""
    from quantize_cli.certificate import statement
    from quantize_cli.errors import InputError

    try:
        return statement.read(str(file.path), file.metadata).stated()
    except InputError:
        return None


def _plain(value: Any) -> Any:
    """A metadata value as its writer spelled it: 1e-05, not the double next to the float32 that is stored."""
    from numpy import float32

    from quantize_cli.formats.gguf.layout import ValueType

    return float(str(float32(value.data))) if value.type is ValueType.FLOAT32 else value.data


def _checkpoint(path: Path) -> dict[str, Any]:
    from quantize_cli.formats.checkpoint import open_checkpoint

    found = open_checkpoint(path)
    return _document(path, "safetensors", found.config or {}, found.tensors)


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


def _print(document: dict[str, Any]) -> None:
    from quantize_cli.certificate.statement import PREFIX
    from quantize_cli.cli.terminal.claims import shown
    from quantize_cli.cli.terminal.text import print_table, size

    print_table(
        (document["path"], document["format"]),
        [
            ("size", f"{document['nbytes']} bytes ({size(document['nbytes'])})"),
            ("weights", f"{document['weights']} ({document['weights'] / 1e6:.1f} million)"),
            ("bits per weight", f"{document['bits_per_weight']:.4f}"),
            ("tensors", ", ".join(f"{count} {name.lower()}" for name, count in document["types"].items())),
        ],
    )
    claims = document["certificate"] or {}
    if claims:
        sys.stdout.write("\n")
        print_table(("certificate", "states"), [(key, shown(value)) for key, value in claims.items()])
    values = [(k, _shown(v)) for k, v in document["metadata"].items() if k.removeprefix(PREFIX) not in claims]
    sys.stdout.write("\n")
    print_table(("metadata", "value"), values)
    rows = [
        (t["name"], " x ".join(map(str, t["shape"])), t["type"].lower(), str(t["nbytes"]), str(t["offset"]))
        for t in document["tensors"]
    ]
    sys.stdout.write("\n")
    print_table(("tensor", "shape", "type", "bytes", "offset"), rows, frozenset({"bytes", "offset"}))


def _shown(value: Any) -> str:
    """A metadata value on one line, long ones cut."""
    if hasattr(value, "__len__") and not isinstance(value, str | dict):
        items = ", ".join(_shown(item) for item in value[:_SHOWN_ITEMS])
        return f"[{items}, ...] ({len(value)} items)" if len(value) > _SHOWN_ITEMS else f"[{items}]"
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"

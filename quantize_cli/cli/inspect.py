"""quantize inspect: what a model file says."""

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from quantize_cli.cli.terminal.claims import claim_lines
from quantize_cli.cli.terminal.options import Json
from quantize_cli.cli.terminal.text import print_json, print_table, size

_SHOWN_ITEMS = 4
_SHOWN_CHARACTERS = 70


def command(
    file: Annotated[Path, Argument(metavar="FILE", help="A .gguf or .safetensors file, or a checkpoint directory.")],
    json: Json = False,
) -> None:
    """Show the metadata and tensors of FILE: types, shapes, sizes, bits per weight."""
    from quantize_cli import api

    document = api.inspect(file)
    if json:
        print_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    from quantize_cli.certificate.statement import PREFIX

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
        print_table(("certificate", "states"), [(key, claim_lines(value)) for key, value in claims.items()])
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

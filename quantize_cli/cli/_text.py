"""How things are said: data on stdout, words on stderr, sizes for people, names safe for a terminal."""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from formats.ggml import GgmlType


def warn(message: str) -> None:
    """Say something a person should know; not data."""
    sys.stderr.write(f"warning: {message}\n")


def note(message: str) -> None:
    """Say how things go; not data."""
    sys.stderr.write(f"{message}\n")


def printable(text: str) -> str:
    """Text from a file with what a terminal would obey or hide escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def size(nbytes: float) -> str:
    """A size for people: 1.34 GB, powers of ten as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.2f} {unit}"
        nbytes /= 1000
    raise AssertionError


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout."""
    sys.stdout.write(json.dumps(_plain(document), ensure_ascii=False, indent=1) + "\n")


def _plain(value: Any) -> Any:
    """Numpy values as Python's, and numbers JSON has no word for as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()) -> None:
    """Columns on stdout; never cut when stdout is not a terminal. `right` names those aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=1 << 16)
    console.print(table)


def type_counts(types: dict[GgmlType, int]) -> str:
    """`197 q4_k, 29 q6_k, 81 f32`."""
    return ", ".join(f"{count} {type_.name.lower()}" for type_, count in types.items())

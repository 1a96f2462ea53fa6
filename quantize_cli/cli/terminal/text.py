"""Output: data on stdout, messages on stderr, names made safe for a terminal."""

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from quantize_cli.cli.terminal.streams import printable as printable
from quantize_cli.units import size as size

if TYPE_CHECKING:
    from quantize_cli.formats.ggml import GgmlType


def warn(message: str) -> None:
    """A warning on stderr."""
    sys.stderr.write(f"warning: {printable(message)}\n")


def note(message: str) -> None:
    """A message on stderr."""
    sys.stderr.write(f"{printable(message)}\n")


def escape_controls(text: str) -> str:
    """Text a model wrote with what a terminal would obey escaped; lines and tabs stay."""
    from unicodedata import category

    return "".join(repr(c)[1:-1] if category(c) == "Cc" and c not in "\n\t" else c for c in text)


def print_json(document: Mapping[str, object]) -> None:
    """One document on stdout."""
    from quantize_cli.cli.terminal.json import json_pieces

    # Half a character, as a file name of other than UTF-8 has, and what the stream's encoding lacks are escaped.
    sys.stdout.writelines(_encodable(piece) for piece in json_pieces(document))
    sys.stdout.write("\n")


def _encodable(piece: str) -> str:
    import json

    try:
        piece.encode(sys.stdout.encoding)
    except UnicodeError:
        return "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in piece)
    return piece


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()) -> None:
    """Columns on stdout; never cut when stdout is not a terminal. `right` names those aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(Text(printable(heading)), justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # Not straight to stdout: rich answers a closed pipe by leaving with exit code 1.
    watched, drawn = sys.stdout.isatty(), io.StringIO()
    Console(file=drawn, force_terminal=watched, width=None if watched else 1 << 16, highlight=False).print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in drawn.getvalue().splitlines())


def type_counts(types: "Mapping[GgmlType, int]") -> str:
    """`197 q4_k, 29 q6_k, 81 f32`."""
    return ", ".join(f"{count} {type_.name.lower()}" for type_, count in types.items())

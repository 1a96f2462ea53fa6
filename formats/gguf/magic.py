"""Tells GGUF files by their first bytes, as Ollama names its files by their hashes."""

from pathlib import Path

from quantize_cli.formats.gguf.layout import MAGIC
from quantize_cli.formats.source import open_input

SUFFIX = ".gguf"


def is_gguf(path: Path) -> bool:
    """Whether to read `path` as GGUF: it begins with the magic bytes, or its name ends in .gguf.

    A damaged .gguf file is thus refused by the GGUF reader. FormatError when it cannot be opened.
    """
    if path.is_dir():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    if not path.is_file():
        return False
    with open_input(path) as file:
        return file.read(len(MAGIC)) == MAGIC

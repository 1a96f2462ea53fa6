"""Whether a file is GGUF by what it begins with: names say little, Ollama calls its files by their hashes."""

from pathlib import Path

from quantize_cli.formats.gguf.layout import MAGIC
from quantize_cli.formats.source import open_input

SUFFIX = ".gguf"


def is_gguf(path: Path) -> bool:
    """Whether to read `path` as GGUF: a file that begins as one, or is called one though it is none.

    So a .gguf file that is damaged or something else is told so by the reader. FormatError when it cannot be opened.
    """
    if path.is_dir():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    if not path.is_file():
        return False
    with open_input(path) as file:
        return file.read(len(MAGIC)) == MAGIC

"""Files that change while they are read are told from those that do not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.source import open_input, record_opened_files, refuse_changed


def rewrite(path: Path) -> str:
    path.write_bytes(b"NEW")
    os.utime(path, ns=(1, 1))
    return "was written to while it was read"


def lengthen(path: Path) -> str:
    path.write_bytes(b"longer")
    return "went from 3 to 6 bytes"


def replace(path: Path) -> str:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    return "was replaced by another file"


def remove(path: Path) -> str:
    path.unlink()
    return "went away"


@pytest.mark.parametrize("change", [rewrite, lengthen, replace, remove])
def test_a_file_that_changed_is_named(change: Callable[[Path], str], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with record_opened_files() as files, open_input(path):
        pass
    refuse_changed(files)
    says = change(path)
    with pytest.raises(FormatError, match=f"a: {says}"):
        refuse_changed(files)


def test_what_counts_is_the_file_that_was_opened_first(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with record_opened_files() as outer:
        open_input(path).close()
        replace(path)
        with record_opened_files() as inner:
            open_input(path).close()
    refuse_changed(inner)
    with pytest.raises(FormatError):
        refuse_changed(outer)

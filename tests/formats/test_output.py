"""A file appears whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from formats.output import replacing


def test_a_file_is_as_large_as_said_and_zero_where_nothing_was_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", 10) as output:
        output.write(np.array([[1, 2]], np.uint16), 4)
        output.write(b"x", 0)
    assert (tmp_path / "a").read_bytes() == b"x\0\0\0\1\0\2\0\0\0"
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208


def test_the_name_is_not_there_before_the_end(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", 3) as output:
        output.write(b"abc", 0)
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.name.startswith(".a.")
        assert unfinished.name.endswith(".unfinished")
    assert (tmp_path / "a").read_bytes() == b"abc"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failure_leaves_everything_as_it_was(
    error: type[BaseException], before: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)

    def fail() -> None:
        with replacing(path, 3) as output:
            output.write(b"new", 0)
            raise error

    with pytest.raises(error):
        fail()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old and longer")
    with replacing(tmp_path / "a", 3) as output:
        output.write(b"new", 0)
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


def test_a_directory_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "a", 3):
        raise AssertionError("nothing to write to")


def test_an_empty_write_and_an_empty_file_are_fine(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", 0) as output:
        output.write(np.empty((0, 4), np.float32), 0)
        output.write(b"", 0)
    assert (tmp_path / "a").read_bytes() == b""


def test_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a", 1):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640

"""A file appears whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from formats.output import patch, replacing, staged


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


def test_staged_files_appear_together_under_their_names(tmp_path: Path) -> None:
    wanted = [tmp_path / "a", tmp_path / "b"]
    with staged(wanted) as places:
        for path in wanted:
            assert places[path].name == path.name
            places[path].write_text(path.name)
        patch(places[wanted[0]], b"A", 0)
        (unfinished,) = tmp_path.iterdir()
        assert (unfinished.name[:3], unfinished.suffix) == (".a.", ".unfinished")
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {wanted[0]: "A", wanted[1]: "b"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_no_staged_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with staged([path]) as places:
            places[path].write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("a", "old")]


def test_a_patch_changes_only_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    patch(path, b"ab", 3)
    assert path.read_bytes() == b"012ab56789"

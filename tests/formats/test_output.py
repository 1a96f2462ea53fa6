"""A file appears whole or not at all."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats import unfinished
from quantize_cli.formats.output import OverwriteGuard, atomic_file, atomic_files, patch, staging_directory
from quantize_cli.formats.source import file_stamp
from quantize_cli.formats.unfinished import remove_unfinished


def test_a_file_is_as_large_as_said_and_zero_where_nothing_was_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a", 10) as output:
        output.write(np.array([[1, 2]], np.uint16), 4)
        output.write(b"x", 0)
    assert (tmp_path / "a").read_bytes() == b"x\0\0\0\1\0\2\0\0\0"
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208


def test_the_name_is_not_there_before_the_end(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a", 3) as output:
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
        with atomic_file(path, 3) as output:
            output.write(b"new", 0)
            raise error

    with pytest.raises(error):
        fail()
    assert [found.read_bytes() for found in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old and longer")
    with atomic_file(tmp_path / "a", 3) as output:
        output.write(b"new", 0)
    assert [found.read_bytes() for found in tmp_path.iterdir()] == [b"new"]


def test_a_directory_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "absent" / "a", 3):
        raise AssertionError("nothing to write to")


def test_an_empty_write_and_an_empty_file_are_fine(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a", 0) as output:
        output.write(np.empty((0, 4), np.float32), 0)
        output.write(b"", 0)
    assert (tmp_path / "a").read_bytes() == b""


def test_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "a", 1):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_staged_files_appear_together_under_their_names(tmp_path: Path) -> None:
    wanted = [tmp_path / "a", tmp_path / "b"]
    with staging_directory(wanted) as places:
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
        with staging_directory([path]) as places:
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


# --- what is there -----------------------------------------------------------------------------------------------


CAREFUL = OverwriteGuard(force=False)


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return "is a pipe, not a regular file"


def link(path: Path) -> str:
    (path.parent / "target").write_bytes(b"old")
    path.symlink_to("target")
    return "is a link, not a regular file"


def idle_link(path: Path) -> str:
    path.symlink_to("nowhere")
    return "is a link, not a regular file"


def listening(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))
    return "is a socket, not a regular file"


def directory(path: Path) -> str:
    path.mkdir()
    return "is a directory"


@pytest.mark.parametrize("make", [pipe, link, idle_link, listening, directory])
def test_only_a_regular_file_is_ever_replaced(make: Callable[[Path], str], tmp_path: Path) -> None:
    path = tmp_path / "a"
    says = make(path)
    before = {found.name: found.lstat().st_ino for found in tmp_path.iterdir()}
    assert OverwriteGuard().reason_against(path) == says
    with pytest.raises(FileExistsError, match=says), atomic_file(path, 3):
        pass
    assert {found.name: found.lstat().st_ino for found in tmp_path.iterdir()} == before


def test_an_input_is_never_replaced_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "b")
    guard = OverwriteGuard(inputs=frozenset({file_stamp(path).file}))
    assert [guard.reason_against(tmp_path / name) for name in ("a", "link", "b")] == 3 * ["is an input itself"]


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_without_force_a_file_that_comes_meanwhile_stays(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    appear = os.link

    def late(source: Path, target: Path, **options: bool) -> None:
        path.write_bytes(b"theirs")
        if not has_links:
            raise PermissionError
        appear(source, target, **options)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(FileExistsError), atomic_file(path, 3, CAREFUL):
        pass
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"a": b"theirs"}


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_without_force_a_new_file_gets_its_name(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path, **options: bool) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    with atomic_file(tmp_path / "a", 3, CAREFUL) as output:
        output.write(b"new", 0)
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"a": b"new"}


def test_of_several_files_none_appears_where_one_may_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    with pytest.raises(FileExistsError, match="b"), atomic_files({first: 1, second: 1}, CAREFUL):
        second.write_bytes(b"theirs")
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"b": b"theirs"}


def test_what_the_same_work_wrote_may_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_file(path, 1, CAREFUL) as output:
        guard = OverwriteGuard(force=False, own=output.file)
    with atomic_file(path, 2, guard):
        pass
    assert (path.stat().st_size, CAREFUL.reason_against(path)) == (2, "already exists")


def test_a_name_as_long_as_a_name_can_be_is_fine(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    with atomic_file(path, 1):
        pass
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


# --- leftovers ---------------------------------------------------------------------------------------------------


def test_only_what_nobody_holds_is_swept(tmp_path: Path) -> None:
    dead = [tmp_path / ".a.0123abcd.unfinished", tmp_path / ".b.0123abcd.unfinished"]
    dead[0].write_bytes(b"x")
    dead[1].mkdir()
    (dead[1] / "b").write_bytes(b"x")
    others = [tmp_path / name for name in ("a", ".a.unfinished", ".a.0123abcx.unfinished", "a.0123abcd.unfinished")]
    for path in others:
        path.touch()
    (tmp_path / ".c.0123abcd.unfinished").symlink_to("a")
    with atomic_file(tmp_path / "new", 3), staging_directory([tmp_path / "also"]) as places:
        places[tmp_path / "also"].touch()
        assert remove_unfinished(tmp_path) == dead
    left = {found.name for found in tmp_path.iterdir()}
    assert left == {path.name for path in others} | {".c.0123abcd.unfinished", "new", "also"}


def test_a_file_swept_before_it_was_held_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold, swept = unfinished._hold, []

    def late(descriptor: int) -> None:
        if not swept:
            swept.extend(remove_unfinished(tmp_path))
        hold(descriptor)

    monkeypatch.setattr(unfinished, "_hold", late)
    with atomic_file(tmp_path / "a", 1):
        pass
    assert (len(swept), [found.name for found in tmp_path.iterdir()]) == (1, ["a"])

"""Machine code on disk: what is damaged is as if it had never been kept, and no trouble of the disk is an error."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.jit import kernel_cache
from quantize_cli.jit.kernel import kernel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel_cache, "_troubles", [])
    kernel_cache._place.cache_clear()
    yield tmp_path
    kernel_cache._place.cache_clear()


def doubled(x):
    return x + x


def times_loaded() -> int:
    """Whether a kernel made anew comes from the disk, given that it works."""
    made: Any = kernel(doubled)
    assert made(3) == 6
    return sum(made.stats.cache_hits.values())


def kept_file(cache: Path) -> Path:
    (path,) = (path for path in cache.rglob("*") if path.is_file())
    return path


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-100],
    "cut to its mark": lambda content: content[:20],
    "zeros inside": lambda content: content[:4000] + bytes(500) + content[4500:],
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"x",
    "of another kind": lambda content: b"\x80\x04N.",
}


def test_a_kernel_is_compiled_once(cache: Path) -> None:
    assert [times_loaded(), times_loaded(), kernel_cache.uncached_reason()] == [0, 1, None]
    assert kept_file(cache).name.startswith("tests_test_kept_doubled-")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(damage: str, cache: Path) -> None:
    times_loaded()
    path = kept_file(cache)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert [times_loaded(), times_loaded()] == [0, 1]
    assert kept_file(cache) == path


def test_what_is_whole_but_cannot_be_used_is_replaced(cache: Path) -> None:
    times_loaded()
    kernel_cache.save(kept_file(cache).name, b"\x80\x04N.")
    assert [times_loaded(), times_loaded()] == [0, 1]


def test_a_full_disk_is_told_once_and_stops_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert times_loaded() == 0
    assert (kernel_cache.uncached_reason() or "").endswith(": no space left on device")
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert kernel_cache.compiling() == "compiling kernels for this processor"


def test_a_place_that_cannot_be_made_stops_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert times_loaded() == 0
    assert (kernel_cache.uncached_reason() or "").endswith(": not a directory")


def test_a_user_without_a_home_stops_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert times_loaded() == 0
    assert kernel_cache.uncached_reason() == "there is no home directory, and XDG_CACHE_HOME is not set"


def test_it_is_said_that_kernels_are_kept_only_where_they_are(cache: Path) -> None:
    assert kernel_cache.compiling() == "compiling kernels for this processor, kept for next time"

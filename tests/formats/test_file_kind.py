"""A file that is something else than its name says is called what it is, with what to do about it."""

from pathlib import Path

import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.json_object import parse_object
from quantize_cli.formats.safetensors import read_header
from tests.formats.build import write_safetensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 4368438\n"
KINDS = {
    POINTER: ("a git lfs pointer", "git lfs pull"),
    b"\n<!DOCTYPE html><html><body>Access denied": ("a web page or error message", "download the file anew"),
    b"Entry not found": ("an error message of a server", "download the file anew"),
    b"PK\x03\x04 and what torch.save puts there": ("a zip archive", "save the model as safetensors"),
    b"\x80\x02}q\x00 a pickle of old": ("a pickle", "save the model as safetensors"),
    b"\x1f\x8b\x08 and a gzip archive": ("a compressed file", "unpack it"),
}


def assert_told(error: FormatError, content: bytes) -> None:
    what, hint = KINDS[content]
    assert f": {what}" in str(error)
    assert (error.hint or "").startswith(hint)


@pytest.mark.parametrize("content", KINDS)
def test_weights(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        open_checkpoint(tmp_path)
    assert_told(caught.value, content)


@pytest.mark.parametrize("content", KINDS)
def test_a_gguf_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content.ljust(64))
    with pytest.raises(FormatError) as caught:
        read_gguf(tmp_path / "model.gguf")
    assert_told(caught.value, content)


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json", "config.json", "generation_config.json"])
def test_files_beside_the_weights(name: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"a": [1]})
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(FormatError, match=rf"{name}: a git lfs pointer"):
        open_checkpoint(tmp_path).file(name)


def test_a_header_that_begins_like_an_archive_is_still_a_header(tmp_path: Path) -> None:
    header = b"{}" + b" " * (0x088B1F - 2)
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert read_header(tmp_path / "model.safetensors") == ()


@pytest.mark.parametrize("size", [0, 4, 40, 70])
def test_a_file_cut_short_is_to_be_downloaded_anew(size: int, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", {"a": [9]})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FormatError) as caught:
        read_header(path)
    assert caught.value.hint == "its download was cut short: download it anew"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_in_another_encoding_is_told_which(encoding: str) -> None:
    with pytest.raises(FormatError, match=f": {encoding[:6]}.*, not utf-8") as caught:
        parse_object("config.json", '{"a": 1}'.encode(encoding), False, 1 << 20)
    assert (caught.value.hint or "").startswith(f"iconv -f {encoding[:6]}")


def test_a_mark_of_utf_8_is_passed_over() -> None:
    assert parse_object("config.json", b'\xef\xbb\xbf{"a": 1}', False, 1 << 20) == {"a": 1}

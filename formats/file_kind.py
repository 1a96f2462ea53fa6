"""Tells pointers, error pages and pickles from model files by their first bytes."""

from pathlib import Path

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.source import open_input

HEAD_NBYTES = 512
"""The part of a file that is examined."""

_AGAIN = "download the file anew, logged in if the model is gated (hf auth login)"
_KINDS = (
    ((b"version https://git-lfs.github.com/", b"version https://hawser.github.com/"),
     "a git lfs pointer, not the file it stands for", "git lfs pull fetches the file"),
    ((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<!--"), "a web page or error message", _AGAIN),
    ((b"entry not found", b"access to model", b"invalid credentials", b"repository not found", b"not found"),
     "an error message of a server", _AGAIN),
    ((b"pk\x03\x04",), "a zip archive, as torch.save writes it",
     "save the model as safetensors: a pickle can run code, so none is ever loaded"),
    ((b"\x80\x02}", b"\x80\x03}", b"\x80\x04\x95", b"\x80\x02\x8a", b"\x80\x05\x95"), "a pickle",
     "save the model as safetensors: a pickle can run code, so none is ever loaded"),
    ((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zxz\x00"), "a compressed file", "unpack it first"),
)  # fmt: skip
"""First bytes (without white space, in lower case), the kind of file they mean, and what to do."""


def refuse_wrong_kind(path: Path, head: bytes | None = None) -> None:
    """FormatError when `head`, the first bytes of the file at `path`, shows that it is no model file."""
    if head is None:
        with open_input(path) as file:
            head = file.read(HEAD_NBYTES)
    begin = head[:HEAD_NBYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginnings, what, hint in _KINDS:
        if begin.startswith(beginnings):
            raise FormatError(f"{path}: {what}", hint=hint)


def encoding_of(text: bytes) -> tuple[str, str] | None:
    """The encoding, if a byte order mark or zeros between letters show another than UTF-8, and how to change it."""
    for name, marks, width in (
        ("utf-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff"), 4),
        ("utf-16", (b"\xff\xfe", b"\xfe\xff"), 2),
    ):
        if text.startswith(marks):
            return name, f"iconv -f {name} -t utf-8 changes it"
        zeros = text[: 2 * width].count(0)
        if len(text) >= 2 * width and zeros == 2 * (width - 1) and (text[0] == 0) != (text[width - 1] == 0):
            order = "be" if text[0] == 0 else "le"
            return f"{name}{order}", f"iconv -f {name}{order} -t utf-8 changes it"
    return None

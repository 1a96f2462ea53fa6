import os
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.safetensors import MAX_HEADER_NBYTES, read_header
from tests.formats.build import entry, safetensors_bytes

VALID = safetensors_bytes(
    {"__metadata__": {"format": "pt"}, "first": entry([2, 3], 0, 24), "second": entry([4], 24, 32, "BF16")}, bytes(32)
)

REFUSED = {
    "empty": (b"", "0 bytes, a safetensors file has at least 8"),
    "short length": (bytes(7), "7 bytes, a safetensors file has at least 8"),
    "header beyond file": (safetensors_bytes(b"{}", length=9000), "header ends at byte 9008, file at 10"),
    "huge header": (
        safetensors_bytes(b"{}", length=MAX_HEADER_NBYTES + 1),
        "header of 100000001 bytes, at most 100000000",
    ),
    "length of all ones": (b"\xff" * 16, "header of 18446744073709551615 bytes, at most 100000000"),
    "leading space": (safetensors_bytes(b" {}"), r"header begins with b' ', not b'{'"),
    "no header": (safetensors_bytes(b""), r"header begins with b'', not b'{'"),
    "array": (safetensors_bytes(b"[]"), r"header begins with b'\[', not b'{'"),
    "not utf-8": (safetensors_bytes(b'{"\xff": 1}'), "header: not utf-8 at byte 2 of 8"),
    "not json": (safetensors_bytes(b'{"a": }'), "header: not json at character 6"),
    "trailing text": (safetensors_bytes(b"{} {}"), "header: not json at character 3"),
    "deep nesting": (safetensors_bytes(b'{"a":' + b"[" * 200_000), "header: not json that can be read: RecursionError"),
    "long number": (safetensors_bytes(b'{"a":' + b"9" * 5000 + b"}"), "not json that can be read|not dtype, shape"),
    "duplicate tensor": (
        safetensors_bytes(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":0}'),
        "header: key 'a' occurs 2 times",
    ),
    "duplicate field": (
        safetensors_bytes(b'{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
        "header: key 'dtype' occurs 2 times",
    ),
    "metadata list": (safetensors_bytes({"__metadata__": []}), "'__metadata__' is a json list, not an object"),
    "metadata number": (safetensors_bytes({"__metadata__": {"a": 1}}), "key 'a' is a json int, not a string"),
    "half a character": (safetensors_bytes(b'{"\\ud800": {}}'), r"'\\ud800', half of a surrogate pair"),
    "half a character in metadata": (
        safetensors_bytes(b'{"__metadata__":{"a":"x\\ud800"}}'),
        r"'\\ud800', half of a surrogate pair",
    ),
    "hole at the end": (safetensors_bytes({"a": entry([1], 0, 4)}, bytes(5)), "tensors end at byte 73, file at 74"),
    "data cut": (safetensors_bytes({"a": entry([1], 0, 4)}, bytes(3)), "tensors end at byte 73, file at 72"),
    "data without tensors": (safetensors_bytes({}, b"x"), "tensors end at byte 10, file at 11"),
    "hole at the start": (
        safetensors_bytes({"a": entry([1], 4, 8)}, bytes(8)),
        "tensor 'a' begins at byte 4 of the data, expected 0: it leaves a hole",
    ),
    "hole between": (
        safetensors_bytes({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
        "tensor 'b' begins at byte 8 of the data, expected 4: it leaves a hole",
    ),
    "overlap": (
        safetensors_bytes({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8)),
        "tensor 'b' begins at byte 4 of the data, expected 8: it overlaps",
    ),
    "same bytes twice": (
        safetensors_bytes({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)),
        "tensor 'b' begins at byte 0 of the data, expected 4: it overlaps",
    ),
    "control characters": (
        safetensors_bytes({"a\x1b[2J": entry([1], 4, 8)}, bytes(8)),
        r"tensor 'a\\x1b\[2J' begins at byte 4",
    ),
}

REFUSED_ENTRIES: dict[str, tuple[Any, str]] = {
    "no object": (7, "has 'int', not dtype, shape and data_offsets"),
    "field missing": ({"dtype": "F32", "shape": [1]}, "not dtype, shape and data_offsets"),
    "field added": (entry([1], 0, 4) | {"strides": [1]}, "strides.*, not dtype, shape and data_offsets"),
    "dtype unknown": (entry([1], 0, 4, "F33"), "has unknown dtype 'F33'"),
    "dtype no text": (entry([1], 0, 4) | {"dtype": ["F32"]}, r"has unknown dtype \"\['F32'\]\""),
    "shape no list": (entry([1], 0, 4) | {"shape": 1}, "has shape '1', not the dimensions"),
    "negative dimension": (entry([-1, -1], 0, 4), r"has shape '\[-1, -1\]', not the dimensions"),
    "true dimension": (entry([True], 0, 4), r"has shape '\[True\]', not the dimensions"),
    "fractional dimension": (entry([1.0], 0, 4), r"has shape '\[1.0\]', not the dimensions"),  # type: ignore[list-item]
    "product of 64 bits": (entry([1 << 32, 1 << 32], 0, 0), "not the dimensions"),
    "product hidden by zero": (entry([1 << 32, 1 << 32, 0], 0, 0), "not the dimensions"),
    "many dimensions": (entry([2] * 100_000, 0, 4), "not the dimensions"),
    "one offset": (entry([1], 0, 4) | {"data_offsets": [4]}, r"has data_offsets '\[4\]', not two"),
    "negative offset": (entry([1], -4, 0), r"has data_offsets '\[-4, 0\]', not two"),
    "offset no number": (entry([1], 0, 4) | {"data_offsets": [0, "4"]}, "not two byte counts"),
    "end before begin": (entry([1], 4, 0), "ends at 0, before it begins at 4"),
    "size too small": (entry([2], 0, 4), r"has 4 bytes, shape \[2\] of F32 needs 8"),
    "size too large": (entry([1], 0, 8), r"has 8 bytes, shape \[1\] of F32 needs 4"),
}


def read_bytes(directory: Path, stored: bytes) -> Any:
    path = directory / "model.safetensors"
    path.write_bytes(stored)
    return read_header(path)


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    stored, message = REFUSED[case]
    with pytest.raises(FormatError, match=message) as caught:
        read_bytes(tmp_path, stored)
    assert str(caught.value).startswith(f"{tmp_path / 'model.safetensors'}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", REFUSED_ENTRIES)
def test_hostile_entry_is_refused_by_name(tmp_path: Path, case: str) -> None:
    hostile, message = REFUSED_ENTRIES[case]
    with pytest.raises(FormatError, match=f"tensor 'a' .*{message}"):
        read_bytes(tmp_path, safetensors_bytes({"a": hostile}, bytes(4)))


@pytest.mark.parametrize("kind", ["directory", "missing", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.safetensors"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(FormatError, match=f"{re.escape(str(path))}: (not a regular file|no such file or directory)"):
        read_header(path)


def test_tensors_come_in_the_order_of_their_data(tmp_path: Path) -> None:
    header = {"z": entry([1], 4, 8), "a": entry([], 0, 4), "empty": entry([3, 0], 4, 4)}
    tensors = read_bytes(tmp_path, safetensors_bytes(header, bytes(8)))
    assert [(t.name, t.shape) for t in tensors] == [("a", ()), ("empty", (3, 0)), ("z", (1,))]


def test_file_of_the_library_reads_the_same(tmp_path: Path) -> None:
    dtypes = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", ml_dtypes.bfloat16]
    dtypes += [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
    arrays = {np.dtype(d).name: np.arange(12).astype(d).reshape(4, 3) for d in dtypes}
    path = tmp_path / "model.safetensors"
    save_file(arrays, path, metadata={"format": "np"})
    tensors = read_header(path)
    assert {t.name for t in tensors} == set(arrays)
    with safe_open(path, "np") as library:
        for tensor in tensors:
            assert library.get_slice(tensor.name).get_dtype() == tensor.dtype
            assert list(tensor.shape) == library.get_slice(tensor.name).get_shape()
            assert arrays[tensor.name].tobytes() == tensor.rows(0, 4).tobytes()
            if tensor.dtype != "BOOL":
                assert tensor.element == arrays[tensor.name].dtype


def test_what_only_the_library_refuses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, framework: str) -> None:
        raise SafetensorError("a rule of tomorrow")

    monkeypatch.setattr("safetensors.safe_open", refuse)
    with pytest.raises(FormatError, match="the safetensors library refuses it: a rule of tomorrow"):
        read_bytes(tmp_path, VALID)


def library_refuses(path: Path) -> bool:
    try:
        with safe_open(path, "np"):
            return False
    except Exception:
        return True


@pytest.mark.parametrize("nbytes", range(len(VALID)))
def test_truncated_file_is_refused(tmp_path: Path, nbytes: int) -> None:
    with pytest.raises(FormatError):
        read_bytes(tmp_path, VALID[:nbytes])


@given(position=st.integers(0, len(VALID) - 33), flip=st.integers(1, 255))
def test_changed_byte_is_read_or_refused_and_never_when_the_library_refuses(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    changed = bytearray(VALID)
    changed[position] ^= flip
    directory = tmp_path_factory.getbasetemp()
    try:
        read_bytes(directory, bytes(changed))
    except FormatError:
        return
    assert not library_refuses(directory / "model.safetensors")

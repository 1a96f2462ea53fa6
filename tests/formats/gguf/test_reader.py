import contextlib
import ctypes
import re
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import REMOVED_TYPES
from quantize_cli.formats.gguf.layout import ValueType
from quantize_cli.formats.gguf.reader import GgufFile, read_gguf
from tests.formats import build
from tests.formats.build import gguf_bytes, string, tensor, value
from tests.oracle import library

U32 = struct.Struct("<I").pack
ZERO = value("a", build.UINT8, b"\0")

VALID_DATA = bytes(range(128))
VALID_PARTS: dict[str, Any] = {
    "values": [
        value("general.architecture", build.STRING, string("llama")),
        value("flag", build.BOOL, b"\1"),
        value("rate", build.FLOAT32, struct.pack("<f", 0.5)),
        build.array("tokens", build.STRING, 2, string("é") + string("")),
        build.array("scores", build.FLOAT32, 2, struct.pack("<2f", 1, -2)),
        build.array("flags", build.BOOL, 2, b"\1\0"),
        build.array("empty", build.UINT8, 0, b""),
    ],
    "tensors": [
        tensor("matrix", [3, 2], 0),
        tensor("blocks", [32, 1, 1], 32, type_=2),
        tensor("none", [4, 0], 64, type_=30),
        tensor("scalar", [], 64, type_=1),
    ],
}
VALID = gguf_bytes(**VALID_PARTS, data=VALID_DATA)
HEADER_NBYTES = len(VALID) - len(VALID_DATA)


def read_bytes(directory: Path, stored: bytes) -> GgufFile:
    path = directory / "model.gguf"
    path.write_bytes(stored)
    return read_gguf(path)


def test_everything_in_the_file_is_said(tmp_path: Path) -> None:
    file = read_bytes(tmp_path, VALID)
    assert (file.version, file.alignment, file.data_offset) == (3, 32, HEADER_NBYTES)
    found = {key: (v.type.name, v.element and v.element.name, v.data) for key, v in file.metadata.items()}
    assert found.pop("scores")[2].tolist() == [1, -2]
    assert found.pop("flags")[2].tolist() == [True, False]
    assert found.pop("empty")[2].tolist() == []
    assert found == {
        "general.architecture": ("STRING", None, "llama"),
        "flag": ("BOOL", None, True),
        "rate": ("FLOAT32", None, 0.5),
        "tokens": ("ARRAY", "STRING", ["é", ""]),
    }
    assert [(t.name, t.shape, t.dtype, t.offset - HEADER_NBYTES, t.nbytes) for t in file.tensors] == [
        ("matrix", (2, 3), "F32", 0, 24),
        ("blocks", (1, 1, 32), "Q4_0", 32, 18),
        ("none", (0, 4), "BF16", 64, 0),
        ("scalar", (), "F16", 64, 2),
    ]
    assert [t.element for t in file.tensors] == ["<f4", "u1", ml_dtypes.bfloat16, "<f2"]
    assert file.tensors[0].rows(1, 2).tobytes() == VALID_DATA[12:24]
    assert file.tensors[1].rows(0, 1).tobytes() == VALID_DATA[32:50]


def test_padding_after_the_last_tensor_may_be_missing(tmp_path: Path) -> None:
    assert len(read_bytes(tmp_path, VALID[: HEADER_NBYTES + 66]).tensors) == 4


def test_second_version_reads_like_the_third(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, gguf_bytes(**VALID_PARTS, data=VALID_DATA, version=2)).version == 2


def test_alignment_is_the_files_own(tmp_path: Path) -> None:
    values = [value("general.alignment", build.UINT32, U32(256))]
    stored = gguf_bytes(values, [tensor("a", [1], 0), tensor("b", [1], 256)], bytes(512), alignment=256)
    file = read_bytes(tmp_path, stored)
    assert (file.alignment, file.data_offset, [t.offset for t in file.tensors]) == (256, 256, [256, 512])


def test_file_without_tensors_needs_no_padding(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, gguf_bytes([ZERO], alignment=1)).tensors == ()


@pytest.mark.parametrize("letter", "BbHhIifQqd")
def test_number_arrays_keep_type_and_values(tmp_path: Path, letter: str) -> None:
    types = dict(zip("BbHhIifQqd", [0, 1, 2, 3, 4, 5, 6, 10, 11, 12], strict=True))
    stored = struct.pack(f"<3{letter}", 0, 1, 100)
    scalar = value("b", types[letter], struct.pack(f"<{letter}", 7))
    metadata = read_bytes(tmp_path, gguf_bytes([build.array("a", types[letter], 3, stored), scalar])).metadata
    assert metadata["a"].data.tolist() == [0, 1, 100]
    assert metadata["a"].data.dtype == np.dtype("<" + letter)
    assert (metadata["a"].element, metadata["b"].type) == (ValueType(types[letter]),) * 2
    assert metadata["b"].data == 7


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 bytes, a gguf file has at least 24"),
    "magic": (gguf_bytes(magic=b"ggjt"), "begins with b'ggjt', a gguf file with b'GGUF'"),
    "version 0": (gguf_bytes(version=0), "gguf version 0, readable are 2 and 3"),
    "version 1": (gguf_bytes(version=1), "gguf version 1, readable are 2 and 3"),
    "version 4": (gguf_bytes(version=4), "gguf version 4, readable are 2 and 3"),
    "big-endian": (gguf_bytes(version=3 << 24), "a big-endian gguf file of version 3"),
    "value count": (gguf_bytes(counts=(0, 1 << 63)), f"{1 << 63} metadata values need at least .* are left"),
    "value count by one": (gguf_bytes([ZERO], counts=(0, 3), alignment=1), "3 metadata values need at least 42 bytes"),
    "tensor count": (gguf_bytes(counts=((1 << 64) - 1, 0)), f"{(1 << 64) - 1} tensors need at least .* are left"),
    "empty key": (gguf_bytes([value("", build.UINT8, b"\0"), ZERO]), "a metadata key is empty"),
    "duplicate key": (gguf_bytes([ZERO, ZERO]), "metadata key 'a' occurs again as number 1"),
    "long key": (gguf_bytes([U32(1 << 20) + bytes(40)]), "metadata key 0 needs 1048576 bytes at 32"),
    "key not utf-8": (gguf_bytes([value(b"\xff", 0, b"\0")]), "metadata key 0 is not utf-8 at byte 32"),
    "value type": (gguf_bytes([value("a", 13, bytes(8))]), "metadata 'a' is of type 13, known are 0 to 12"),
    "value cut": (gguf_bytes([value("abc", 12, b"")], alignment=1), "metadata 'abc' needs 8 bytes at 39, 0 are left"),
    "bool": (gguf_bytes([value("a", build.BOOL, b"\2")]), "metadata 'a' is a bool of 2, only 0 and 1 are"),
    "bool array": (gguf_bytes([build.array("a", build.BOOL, 2, b"\1\xff")]), "metadata 'a' is a bool of 255"),
    "string length": (
        gguf_bytes([value("a", build.STRING, b"\xff" * 8)], alignment=1),
        "metadata 'a' needs 18446744073709551615 bytes at 45, 0 are left",
    ),
    "string not utf-8": (gguf_bytes([value("a", build.STRING, string(b"x\x80"))]), "'a' is not utf-8 at byte 46"),
    "nested array": (gguf_bytes([build.array("a", build.ARRAY, 1, bytes(20))]), "metadata 'a' is an array of arrays"),
    "array type": (gguf_bytes([build.array("a", 99, 1, bytes(8))]), "metadata 'a' is of type 99, known are 0 to 12"),
    "array count": (gguf_bytes([build.array("a", 0, 1 << 62, b"")]), f"{1 << 62} items, at most 1073741824"),
    "array of numbers cut": (
        gguf_bytes([build.array("a", 12, 1 << 30, b"")], alignment=1),
        "metadata 'a' needs 8589934592 bytes at 49, 0 are left",
    ),
    "array of strings cut": (
        gguf_bytes([build.array("a", 8, 1 << 30, b"")], alignment=1),
        "metadata 'a', 1073741824 strings, needs 8589934592 bytes at 49, 0 are left",
    ),
    "array of long strings": (
        gguf_bytes([build.array("a", 8, 2, string("x" * 8))], alignment=1),
        "metadata 'a' needs 8 bytes at 65, 0 are left",
    ),
    "control characters": (gguf_bytes([value("\x1b[2J", 77, b"\0")]), r"metadata '\\x1b\[2J' is of type 77"),
}

ALIGNMENTS: dict[str, tuple[bytes, str]] = {
    "zero": (value("general.alignment", build.UINT32, U32(0)), "'general.alignment' is 0, not a power of two"),
    "odd": (value("general.alignment", build.UINT32, U32(48)), "'general.alignment' is 48, not a power of two"),
    "of another type": (value("general.alignment", 10, bytes(8)), "'general.alignment' is of type uint64, not uint32"),
    "an array": (
        build.array("general.alignment", build.UINT32, 1, U32(32)),
        "'general.alignment' is of type array, not uint32",
    ),
}

TENSORS: dict[str, tuple[list[bytes], str]] = {
    "duplicate": ([tensor("a", [1], 0), tensor("a", [1], 32)], "tensor name 'a' occurs again as number 1"),
    "name of 64 bytes": ([tensor("é" * 32, [1], 0)], "has 64 bytes, at most 63 fit"),
    "name with zero": ([tensor("a\0b", [1], 0)], r"tensor name 'a\\x00b' has a zero byte at 1"),
    "name not utf-8": ([tensor(b"\xc3", [1], 0)], "name of tensor 0 is not utf-8 at byte 32"),
    "five dimensions": ([tensor("a", [1] * 5, 0)], "tensor 'a' has 5 dimensions, at most 4 are allowed"),
    "dimensions beyond": ([string("a") + U32(1 << 31) + bytes(16)], "tensor 'a' has 2147483648 dimensions"),
    "negative dimension": ([tensor("a", [(1 << 64) - 1], 0)], r"shape \[18446744073709551615\].* fit 63 bits"),
    "product that wraps": ([tensor("a", [1 << 32, 1 << 31, 2, 1], 0)], "its element count does not fit 63 bits"),
    "product hidden by zero": ([tensor("a", [1 << 40, 1 << 40, 0], 0)], "its element count does not fit 63 bits"),
    "unknown type": ([tensor("a", [1], 0, 43)], "tensor 'a' is of type 43, known are 0 to 42"),
    "type of all ones": ([tensor("a", [1], 0, (1 << 32) - 1)], "tensor 'a' is of type 4294967295, known"),
    "block unfilled": ([tensor("a", [688, 2], 0, 12)], "tensor 'a': 688 columns do not fill q4_k blocks of 256"),
    "block in scalar": ([tensor("a", [], 0, 2)], "tensor 'a': 1 columns do not fill q4_0 blocks of 32"),
    "gap": ([tensor("a", [1], 0), tensor("b", [1], 64)], "tensor 'b' begins at 64 of the data, expected 32"),
    "gap at start": ([tensor("a", [1], 32)], "tensor 'a' begins at 32 of the data, expected 0"),
    "unpadded": ([tensor("a", [1], 0), tensor("b", [1], 4)], "tensor 'b' begins at 4 of the data, expected 32"),
    "overlap": ([tensor("a", [9], 0), tensor("b", [1], 32)], "tensor 'b' begins at 32 of the data, expected 64"),
    "reordered": ([tensor("a", [1], 32), tensor("b", [1], 0)], "tensor 'a' begins at 32 of the data, expected 0"),
    "beyond file": ([tensor("a", [1 << 40], 0)], "tensor 'a' ends at byte 4398046511168, file at 1088"),
}
for _number in sorted(REMOVED_TYPES):
    TENSORS[f"removed type {_number}"] = (
        [tensor("a", [32], 0, _number)],
        f"tensor 'a' is of type {_number}, which the format no longer has",
    )


def refused(directory: Path, stored: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read_bytes(directory, stored)
    assert str(caught.value).startswith(f"{directory / 'model.gguf'}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_header_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    refused(tmp_path, *REFUSED[case])


@pytest.mark.parametrize("case", ALIGNMENTS)
def test_hostile_alignment_is_refused(tmp_path: Path, case: str) -> None:
    stored, message = ALIGNMENTS[case]
    refused(tmp_path, gguf_bytes([stored], [tensor("a", [1], 0)], bytes(64)), message)


@pytest.mark.parametrize("case", TENSORS)
def test_hostile_tensor_is_refused_by_name(tmp_path: Path, case: str) -> None:
    lines, message = TENSORS[case]
    refused(tmp_path, gguf_bytes(tensors=lines, data=bytes(1024)), message)


def test_alignment_that_pads_beyond_the_file_is_refused(tmp_path: Path) -> None:
    values = [value("general.alignment", build.UINT32, U32(1 << 20))]
    refused(tmp_path, gguf_bytes(values, [tensor("a", [0], 0)]), "ends at byte 1048576, file at 96")


def test_alignment_that_a_header_cannot_be_filled_up_to_is_refused(tmp_path: Path) -> None:
    values = [value("general.alignment", build.UINT32, U32(1 << 31))]
    refused(tmp_path, gguf_bytes(values), "'general.alignment' is 2147483648, at most 1048576 is allowed")


def test_string_of_more_than_a_gibibyte_is_refused_though_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    nbytes = (1 << 30) + 1
    with path.open("wb") as file:
        file.write(gguf_bytes([value("a", build.STRING, struct.pack("<Q", nbytes))], alignment=1))
        file.truncate(nbytes + 100)
    with pytest.raises(FormatError, match="metadata 'a' has 1073741825 bytes at 45, at most 1073741824"):
        read_gguf(path)


@pytest.mark.parametrize("nbytes", [*range(0, HEADER_NBYTES, 3), HEADER_NBYTES + 65])
def test_truncated_file_is_refused(tmp_path: Path, nbytes: int) -> None:
    with pytest.raises(FormatError, match=re.escape(str(tmp_path))):
        read_bytes(tmp_path, VALID[:nbytes])


def llama_cpp_opens(path: Path) -> bool:
    """Whether llama.cpp's own reader accepts the file."""
    llama = library()
    llama.gguf_init_from_file.restype = ctypes.c_void_p
    llama.gguf_init_from_file.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p]
    llama.gguf_free.argtypes = [ctypes.c_void_p]
    # struct gguf_init_params, a bool (no_alloc) and a null pointer, travels as two words.
    context = llama.gguf_init_from_file(str(path).encode(), 1, None)
    if context:
        llama.gguf_free(context)
    return bool(context)


@given(position=st.integers(0, HEADER_NBYTES - 1), flip=st.integers(1, 255))
def test_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, position: int, flip: int) -> None:
    changed = bytearray(VALID)
    changed[position] ^= flip
    with contextlib.suppress(FormatError):
        read_bytes(tmp_path_factory.getbasetemp(), bytes(changed))


def test_nothing_is_read_that_llama_cpp_refuses(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for position in range(HEADER_NBYTES):
        changed = bytearray(VALID)
        changed[position] ^= 1 << position % 8
        try:
            read_bytes(tmp_path, bytes(changed))
        except FormatError:
            continue
        assert llama_cpp_opens(path), f"byte {position}"

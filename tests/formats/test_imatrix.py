"""Importance matrices in both formats mean what llama.cpp means by them; damaged ones are refused."""

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value, ValueType, array, text, u32
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.formats.imatrix import Entry, ImportanceFile, imatrix_bytes, read_imatrix, to_file_precision

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "imatrix" / "tiny-llama.imatrix"
GOOD: dict[str, Value] = {
    "general.type": text("imatrix"),
    "imatrix.datasets": array(ValueType.STRING, ["texts/a.txt", "b.txt"]),
    "imatrix.chunk_count": u32(7),
    "imatrix.chunk_size": u32(512),
}


def write_gguf(path: Path, tensors: dict[str, Any], metadata: dict[str, Value] = GOOD) -> Path:
    arrays = {name: np.asarray(values) for name, values in tensors.items()}
    types = {np.dtype(np.float64): GgmlType.F32, np.dtype(np.float16): GgmlType.F16, np.dtype(np.int64): GgmlType.F32}
    infos = [TensorInfo(name, values.shape, types[values.dtype]) for name, values in arrays.items()]
    layout = lay_out(metadata, infos)
    content = bytearray(layout.header.ljust(layout.nbytes, b"\0"))
    for info, values, offset in zip(infos, arrays.values(), layout.offsets, strict=True):
        stored = values.astype("<f2" if info.type is GgmlType.F16 else "<f4").tobytes()
        content[offset : offset + len(stored)] = stored
    path.write_bytes(content)
    return path


def entry(name: str | bytes, calls: int, values: list[float]) -> bytes:
    encoded = name.encode() if isinstance(name, str) else name
    return struct.pack(f"<i{len(encoded)}sii{len(values)}f", len(encoded), encoded, calls, len(values), *values)


def write_dat(path: Path, *entries: bytes, count: int | None = None, end: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<i", len(entries) if count is None else count) + b"".join(entries) + end)
    return path


def test_sums_are_divided_by_the_counts_of_their_matrix(tmp_path: Path) -> None:
    tensors = {
        "a.in_sum2": [[8, 4]], "a.counts": [[4]],
        "b.in_sum2": [[1, 2], [3, 3], [5, 7]], "b.counts": [[2], [3], [0]],
        "c.in_sum2": [6.0], "c.counts": [2.6],
    }  # fmt: skip
    found = read_imatrix(write_gguf(tmp_path / "i.gguf", tensors))
    assert {name: means.tolist() for name, means in found.means.items()} == {
        "a": [[2, 1]], "b": [[0.5, 1], [1, 1], [1, 1]], "c": [[2]],
    }  # fmt: skip
    assert (found.datasets, found.chunks) == (("texts/a.txt", "b.txt"), 7)


def test_counts_of_a_stack_may_lie_in_one_row(tmp_path: Path) -> None:
    tensors = {"b.in_sum2": [[1, 2], [3, 3]], "b.counts": [2, 3]}
    assert read_imatrix(write_gguf(tmp_path / "i.gguf", tensors)).means["b"].tolist() == [[0.5, 1], [1, 1]]


def test_the_older_format_holds_means_times_calls(tmp_path: Path) -> None:
    end = struct.pack("<ii5s", 9, 5, b"a.txt")
    path = write_dat(tmp_path / "i.dat", entry("a", 4, [8, 4]), entry("b", 0, [3]), end=end)
    found = read_imatrix(path)
    assert {name: means.tolist() for name, means in found.means.items()} == {"a": [[2, 1]], "b": [[3]]}
    assert (found.datasets, found.chunks) == (("a.txt",), 9)


@pytest.mark.parametrize(("end", "chunks"), [(b"", 0), (struct.pack("<i", 3), 3), (struct.pack("<ii", 3, 0), 3)])
def test_the_older_format_may_end_early(end: bytes, chunks: int, tmp_path: Path) -> None:
    found = read_imatrix(write_dat(tmp_path / "i.dat", entry("a", 1, [1]), end=end))
    assert (found.datasets, found.chunks) == ((), chunks)


def of(seed: int, matrices: int, columns: int, with_sums: bool = True) -> Entry:
    """An entry of numbers that a file holds without loss."""
    random = np.random.default_rng(seed)
    squares = to_file_precision(random.uniform(0, 1e6, (matrices, columns)))
    sums = to_file_precision(random.normal(0, 1e3, (matrices, columns))) if with_sums else None
    return Entry(squares, random.integers(0, 5000, matrices).astype(np.float64), sums)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    entries = {"b": of(0, 3, 5), "a": of(1, 1, 4), "c": of(2, 2, 1, with_sums=False)}
    file = ImportanceFile(entries, ("x.txt", "y.txt"), 9, 64, "0123", "4567")
    path = tmp_path / "i.gguf"
    path.write_bytes(imatrix_bytes(file))
    found = read_imatrix(path)
    assert dataclasses.replace(file, entries={}) == dataclasses.replace(found, entries={})
    assert list(found.entries) == ["a", "b", "c"]
    for name, entry in entries.items():
        assert np.array_equal(entry.squares, found.entries[name].squares)
        assert np.array_equal(entry.counts, found.entries[name].counts)
    assert np.array_equal(entries["b"].sums, found.entries["b"].sums)
    assert found.entries["c"].sums is None
    assert imatrix_bytes(found) == path.read_bytes()


def test_the_file_holds_what_llama_imatrix_writes_and_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "i.gguf"
    path.write_bytes(imatrix_bytes(read_imatrix(GOLDEN)))
    theirs, ours = read_gguf(GOLDEN), read_gguf(path)
    assert list(theirs.metadata.items()) == list(ours.metadata.items())
    stored = [(t.name, t.shape, t.dtype, t.rows(0, t.row_count).tobytes()) for t in theirs.tensors]
    found = [(t.name, t.shape, t.dtype, t.rows(0, t.row_count).tobytes()) for t in ours.tensors]
    assert stored == [it for it in found if it[0].endswith((".in_sum2", ".counts"))]


def test_a_sum_is_kept_to_48_bits_whose_first_half_is_the_nearest_float32() -> None:
    exact = np.random.default_rng(0).uniform(0, 1e6, 1000)
    kept = to_file_precision(exact)
    assert np.abs(kept - exact).max() < 1e6 * 2.0**-48
    assert np.array_equal(to_file_precision(kept), kept)
    assert np.isnan(to_file_precision(np.array([1e39, np.inf, np.nan]))).all()


def test_sums_beyond_float32_are_not_written() -> None:
    entry = Entry(np.array([[1e39]]), np.ones(1), None)
    with pytest.raises(FormatError, match=r"'a\.in_sum2' holds what does not fit float32"):
        imatrix_bytes(ImportanceFile({"a": entry}, (), 1, 512))


ENTRY = {"a.in_sum2": [[1, 2]], "a.counts": [[1]]}
HOSTILE_GGUF: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "no importance in it"),
    "only counts": ({"a.counts": [[1]]}, "no importance in it"),
    "no counts": ({"a.in_sum2": [[1]]}, "'a.in_sum2' has no float32 counts of as many matrices"),
    "too few counts": ({"a.in_sum2": [[1], [2]], "a.counts": [[1]]}, "of as many matrices"),
    "too many counts": ({"a.in_sum2": [[1, 2]], "a.counts": [[1, 2]]}, "of as many matrices"),
    "no counts in counts": ({"a.in_sum2": [[1]], "a.counts": np.empty((1, 0))}, "of as many matrices"),
    "float16": ({"a.in_sum2": np.ones((1, 2), np.float16), "a.counts": [[1]]}, "float32"),
    "negative": ({"a.in_sum2": [[-1]], "a.counts": [[1]]}, "the importance of 'a' is empty, negative or not finite"),
    "nan": ({"a.in_sum2": [[np.nan]], "a.counts": [[1]]}, "the importance of 'a' is empty, negative or not finite"),
    "infinite": (
        {"a.in_sum2": [[np.inf]], "a.counts": [[1]]},
        "the importance of 'a' is empty, negative or not finite",
    ),
    "negative count": ({"a.in_sum2": [[1]], "a.counts": [[-1]]}, "'a.counts' is negative or not finite"),
    "nan count": ({"a.in_sum2": [[1]], "a.counts": [[np.nan]]}, "'a.counts' is negative or not finite"),
    "sums of another shape": ({**ENTRY, "a.in_sum": [[1]]}, "'a.in_sum' is not float32 of the shape of 'a.in_sum2'"),
    "sums of float16": ({**ENTRY, "a.in_sum": np.ones((1, 2), np.float16)}, "'a.in_sum' is not float32 of the shape"),
    "nan sums": ({**ENTRY, "a.in_sum": [[1, np.nan]]}, "'a.in_sum' is not finite"),
    "large rest": ({**ENTRY, "a.in_sum2_rest": [[0, 1]]}, "'a.in_sum2_rest' is not what rounding 'a.in_sum2' left"),
    "infinite rest": ({**ENTRY, "a.in_sum2_rest": [[0, np.inf]]}, "'a.in_sum2_rest' is not what rounding"),
    "rest of infinity": (
        {"a.in_sum2": [[np.inf]], "a.counts": [[1]], "a.in_sum2_rest": [[-np.inf]]},
        "'a.in_sum2_rest' is not what rounding",
    ),
    "rest of another shape": ({**ENTRY, "a.in_sum2_rest": [[0]]}, "'a.in_sum2_rest' is not what rounding"),
    "name": ({"a\x1b[2J.in_sum2": [[1]]}, r"'a\\x1b\[2J.in_sum2'"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", HOSTILE_GGUF)
def test_a_hostile_gguf_is_refused(name: str, tmp_path: Path) -> None:
    tensors, message = HOSTILE_GGUF[name]
    with pytest.raises(FormatError, match=message) as caught:
        read_imatrix(write_gguf(tmp_path / "i.gguf", tensors))
    assert str(caught.value).startswith(f"{tmp_path}/i.gguf: ")


def test_a_gguf_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "i.gguf", {"a.in_sum2": [[1]]}, {"general.type": text("model")})
    with pytest.raises(FormatError, match=r"general\.type is not 'imatrix'"):
        read_imatrix(path)


def test_a_gguf_that_says_nothing_of_its_origin_is_read(tmp_path: Path) -> None:
    tensors = {"a.in_sum2": [[1]], "a.counts": [[1]]}
    found = read_imatrix(write_gguf(tmp_path / "i.gguf", tensors, {"general.type": text("imatrix")}))
    assert (found.datasets, found.chunks) == ((), 0)


@pytest.mark.parametrize("odd", [("imatrix.datasets", u32(3)), ("imatrix.chunk_count", text("many"))])
def test_an_origin_of_another_kind_is_refused(odd: tuple[str, Value], tmp_path: Path) -> None:
    tensors = {"a.in_sum2": [[1]], "a.counts": [[1]]}
    with pytest.raises(FormatError, match=f"metadata key '{odd[0]}' is"):
        read_imatrix(write_gguf(tmp_path / "i.gguf", tensors, {"general.type": text("imatrix"), **dict([odd])}))


ONE = entry("a", 1, [1])
HOSTILE_DAT = {
    b"": "the number of entries of 4 bytes at byte 0, the file ends at 0",
    struct.pack("<i", 0): "no importance in it",
    struct.pack("<i", -1): "no importance in it",
    struct.pack("<i", 2) + ONE: "the length of a name",
    struct.pack("<ii", 1, -1): "a name of -1 bytes at byte 8",
    struct.pack("<ii", 1, 1 << 30): "a name of 1073741824 bytes at byte 8, the file ends at 8",
    struct.pack("<i", 1) + entry("a", 1, [1])[:-1]: "the values of 'a' of 4 bytes at byte 17, the file ends at 20",
    struct.pack("<iicii", 1, 1, b"a", 1, -1): "the values of 'a' of -4 bytes",
    struct.pack("<iicii", 1, 1, b"a", 1, 1 << 30): "the values of 'a' of 4294967296 bytes",
    struct.pack("<iicii", 1, 1, b"a", 1, 0): "the importance of 'a' is empty, negative or not finite",
    struct.pack("<i", 2) + ONE + ONE: "'a' is there twice",
    struct.pack("<i", 1) + entry(b"\xff", 1, [1]): "not UTF-8 at its byte 0",
    struct.pack("<i", 1) + entry("a", 1, [-1]): "the importance of 'a' is empty, negative or not finite",
    struct.pack("<i", 1) + entry("a", 1, [float("nan")]): "the importance of 'a' is empty, negative or not finite",
    struct.pack("<i", 1) + ONE + b"\0": "the last chunk of 4 bytes",
    struct.pack("<i", 1) + ONE + struct.pack("<ii", 1, -5): "the name of the text of -5 bytes",
    b"Once upon a time there was a text file": "a name of 1869640992 bytes at byte 8",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content", HOSTILE_DAT, ids=repr)
def test_a_hostile_dat_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "i.dat"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_imatrix(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert HOSTILE_DAT[content] in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.dat: no such file or directory"):
        read_imatrix(tmp_path / "absent.dat")


@pytest.mark.filterwarnings("error")
def test_a_number_that_signals_is_refused_without_a_warning(tmp_path: Path) -> None:
    signalling = struct.pack("<I", 0x7FA00000)
    name, numbers = struct.pack("<i", 1) + b"a", struct.pack("<ii", 1, 1)
    path = write_dat(tmp_path / "i.dat", name + numbers + signalling)
    with pytest.raises(FormatError, match="not finite"):
        read_imatrix(path)

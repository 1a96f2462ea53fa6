import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import BLOCK_SHAPE, GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value, ValueType, array, f32, flag, text, u32
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.writer import lay_out

INTEGER_BITS = {
    ValueType.UINT8: (8, False),
    ValueType.INT8: (8, True),
    ValueType.UINT16: (16, False),
    ValueType.INT16: (16, True),
    ValueType.UINT32: (32, False),
    ValueType.INT32: (32, True),
    ValueType.UINT64: (64, False),
    ValueType.INT64: (64, True),
}
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def items_of(type_: ValueType) -> st.SearchStrategy[Any]:
    if type_ in INTEGER_BITS:
        bits, signed = INTEGER_BITS[type_]
        low = -(1 << (bits - 1)) if signed else 0
        return st.integers(low, low + (1 << bits) - 1)
    if type_ in (ValueType.FLOAT32, ValueType.FLOAT64):
        return st.floats(width=32 if type_ is ValueType.FLOAT32 else 64, allow_nan=False)
    return st.booleans() if type_ is ValueType.BOOL else UNICODE


SCALAR_TYPES = [type_ for type_ in ValueType if type_ is not ValueType.ARRAY]
SCALARS = st.sampled_from(SCALAR_TYPES).flatmap(lambda type_: st.builds(Value, st.just(type_), items_of(type_)))
ARRAYS = st.sampled_from(SCALAR_TYPES).flatmap(
    lambda type_: st.builds(array, st.just(type_), st.lists(items_of(type_), min_size=1, max_size=5))
)
METADATA = st.dictionaries(UNICODE.filter(lambda key: key not in ("", "general.alignment")), SCALARS | ARRAYS)


@st.composite
def tensor_infos(draw: st.DrawFn) -> list[TensorInfo]:
    """Tensors of any type, shape and name a file may hold, of at most a few kilobytes."""
    names = draw(st.lists(UNICODE.filter(lambda n: "\0" not in n and len(n.encode()) < 64), max_size=4, unique=True))
    infos = []
    for name in names:
        type_ = draw(st.sampled_from(list(GgmlType)))
        outer = draw(st.lists(st.integers(0, 3), max_size=3))
        columns = draw(st.integers(0, 3)) * BLOCK_SHAPE[type_].weights
        infos.append(TensorInfo(name, (*outer, columns), type_))
    return infos


def write(path: Path, metadata: dict[str, Value], tensors: list[TensorInfo]) -> bytes:
    """The whole file, every tensor byte a 1 and every padding byte a 0."""
    layout = lay_out(metadata, tensors)
    stored = bytearray(layout.nbytes)
    stored[: len(layout.header)] = layout.header
    for info, offset in zip(tensors, layout.offsets, strict=True):
        stored[offset : offset + info.nbytes] = b"\1" * info.nbytes
    path.write_bytes(stored)
    return bytes(stored)


def write_with_gguf(path: Path, metadata: dict[str, Value], tensors: list[TensorInfo]) -> bytes:
    """The same file by llama.cpp's own Python writer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.kv_data[0].clear()  # the architecture, which it adds by itself
    for key, value in metadata.items():
        element = None if value.element is None else gguf.GGUFValueType(value.element)
        writer.add_key_value(key, value.data, gguf.GGUFValueType(value.type), element)
    for info in tensors:
        data = np.ones(info.nbytes, np.int8)
        # As a plain number, because a release of its package may not have heard of the newest types.
        writer.add_tensor(info.name, data, raw_shape=info.shape, raw_dtype=info.type)  # type: ignore[arg-type]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@given(METADATA, tensor_infos())
def test_bytes_are_those_of_llama_cpps_own_writer(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, Value], tensors: list[TensorInfo]
) -> None:
    directory = tmp_path_factory.getbasetemp()
    expected = write_with_gguf(directory / "expected.gguf", metadata, tensors)
    assert write(directory / "actual.gguf", metadata, tensors) == expected


@given(METADATA, tensor_infos(), st.sampled_from([None, 1, 8, 64, 4096]))
def test_reader_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    metadata: dict[str, Value],
    tensors: list[TensorInfo],
    alignment: int | None,
) -> None:
    if alignment:
        metadata = {**metadata, "general.alignment": u32(alignment)}
    path = tmp_path_factory.getbasetemp() / "model.gguf"
    write(path, metadata, tensors)
    file = read_gguf(path)
    assert list(file.metadata) == list(metadata)
    for key, value in metadata.items():
        found = file.metadata[key]
        data = found.data.tolist() if isinstance(found.data, np.ndarray) else found.data
        assert Value(found.type, data, found.element) == value
    assert [TensorInfo(t.name, t.shape, GgmlType[t.dtype]) for t in file.tensors] == tensors
    assert all(t.offset % (alignment or 32) == 0 for t in file.tensors)
    assert all((t.rows(0, t.row_count).view(np.uint8) == 1).all() for t in file.tensors)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_independent_reader_finds_everything(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": text("llama"),
        "general.alignment": u32(64),
        "rate": f32(0.5),
        "flag": flag(True),
        "tokens": array(ValueType.STRING, ["a", "é", ""]),
        "scores": Value(ValueType.ARRAY, np.array([1, -2], np.float32), ValueType.FLOAT32),
    }
    path = tmp_path / "model.gguf"
    write(path, metadata, [TensorInfo("matrix", (2, 64), GgmlType.Q8_0), TensorInfo("vector", (3,), GgmlType.I8)])
    reader = gguf.GGUFReader(path)
    found = {key: reader.fields[key].contents() for key in metadata}
    assert found == {key: list(v.data) if v.element else v.data for key, v in metadata.items()}
    assert [(t.name, t.shape.tolist(), t.tensor_type.name) for t in reader.tensors] == [
        ("matrix", [64, 2], "Q8_0"),
        ("vector", [3], "I8"),
    ]
    assert [t.data.tobytes() for t in reader.tensors] == [b"\1" * 136, b"\1" * 3]


def test_every_tensor_is_padded_and_so_is_the_last() -> None:
    layout = lay_out({}, [TensorInfo("a", (3,), GgmlType.F32), TensorInfo("b", (33,), GgmlType.I8)])
    begin = len(layout.header)
    assert begin % 32 == 0
    assert layout.offsets == (begin, begin + 32)
    assert layout.nbytes == begin + 32 + 64


@pytest.mark.parametrize("element", ["<f4", "<f8", ">f4"])
def test_arrays_of_another_number_type_are_converted(element: str) -> None:
    expected = lay_out({"a": array(ValueType.FLOAT32, [1.0, 0.1])}, []).header
    converted = Value(ValueType.ARRAY, np.array([1.0, 0.1], element), ValueType.FLOAT32)
    assert lay_out({"a": converted}, []).header == expected


F32 = GgmlType.F32
REFUSED_TENSORS: dict[str, tuple[list[TensorInfo], str]] = {
    "duplicate": ([TensorInfo("a", (1,), F32)] * 2, "tensor name 'a' occurs again as number 1"),
    "name of 64 bytes": ([TensorInfo("é" * 32, (1,), F32)], "has 64 bytes, at most 63 fit"),
    "name with zero": ([TensorInfo("a\0", (1,), F32)], "has a zero byte at 1"),
    "half a character": ([TensorInfo("a\ud800", (1,), F32)], "no unicode at character 1"),
    "five dimensions": ([TensorInfo("a", (1,) * 5, F32)], "tensor 'a' has 5 dimensions, at most 4"),
    "negative dimension": ([TensorInfo("a", (-1,), F32)], r"shape \[-1\], its element count does not fit"),
    "product of 63 bits": ([TensorInfo("a", (1 << 32, 1 << 31), F32)], "its element count does not fit 63 bits"),
    "product of numpy integers": (
        [TensorInfo("a", (np.int64(1 << 32), np.int64(1 << 32)), F32)],  # type: ignore[arg-type]
        "its element count does not fit 63 bits",
    ),
    "block unfilled": ([TensorInfo("a", (4, 688), GgmlType.Q4_K)], "tensor 'a': 688 columns do not fill q4_k blocks"),
    "file of 63 bits": ([TensorInfo("a", (1 << 61,), F32)], "the file would have 9223372036854775872 bytes"),
}
REFUSED_VALUES: dict[str, tuple[Value, str]] = {
    "below": (Value(ValueType.UINT8, -1), "does not fit uint8"),
    "above": (Value(ValueType.INT32, 1 << 31), "does not fit int32"),
    "float as integer": (Value(ValueType.INT32, 1.5), "does not fit int32"),
    "text as number": (Value(ValueType.FLOAT32, "1"), "does not fit float32"),
    "beyond float32": (Value(ValueType.FLOAT32, 1e39), "does not fit float32"),
    "number as bool": (Value(ValueType.BOOL, 1), "'a' holds a int at 0, not true or false"),
    "number as text": (Value(ValueType.STRING, 1), "'a' holds a int at 0, not text"),
    "bytes as text": (array(ValueType.STRING, ["x", b"y"]), "'a' holds a bytes at 1, not text"),
    "half a character": (text("\ud800"), r"'a' holds '\\ud800', no unicode at character 0"),
    "array beyond": (array(ValueType.INT8, [0, 128]), "does not fit int8"),
    "numpy array beyond": (Value(ValueType.ARRAY, np.array([0, 128]), ValueType.INT8), "does not fit int8"),
    "bool array of numbers": (array(ValueType.BOOL, [True, 0]), "'a' holds a int at 1, not true or false"),
    "array of arrays": (array(ValueType.ARRAY, []), "'a' is an array of arrays"),
    "array of no type": (Value(ValueType.ARRAY, [1]), "'a' is an array of no type"),
    "array of too many": (array(ValueType.UINT8, range((1 << 30) + 1)), "'a' has 1073741825 items, at most 1073741824"),
}


@pytest.mark.parametrize("case", REFUSED_TENSORS)
def test_tensor_that_no_reader_would_accept_is_refused(case: str) -> None:
    tensors, message = REFUSED_TENSORS[case]
    with pytest.raises(FormatError, match=message):
        lay_out({}, tensors)


@pytest.mark.parametrize("case", REFUSED_VALUES)
def test_value_that_is_not_of_its_type_is_refused(case: str) -> None:
    value, message = REFUSED_VALUES[case]
    with pytest.raises(FormatError, match=f"metadata 'a' .*{message}|metadata {message}"):
        lay_out({"a": value}, [])


def test_empty_key_is_refused() -> None:
    with pytest.raises(FormatError, match="a metadata key is empty"):
        lay_out({"": u32(1)}, [])


@pytest.mark.parametrize("alignment", [u32(0), u32(24), Value(ValueType.UINT64, 32)])
def test_alignment_that_no_reader_would_accept_is_refused(alignment: Value) -> None:
    with pytest.raises(FormatError, match=r"'general\.alignment' is"):
        lay_out({"general.alignment": alignment}, [])


def test_header_begins_as_the_format_says() -> None:
    header = lay_out({"a": u32(7)}, []).header
    assert header[:24] == b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    assert header[24:41] == struct.pack("<Q1sII", 1, b"a", 4, 7)

"""Importance matrices as llama.cpp writes them: a GGUF of sums and counts, and the older .dat of means.

    GGUF    general.type = "imatrix"; per weight NAME the float32 tensors NAME.in_sum2 (matrices, columns), sums of
            squared activations, and NAME.counts (matrices, 1), how many went into each row of sums
    .dat    i32 entries; per entry i32 name length, name, i32 calls, i32 values, float32 values (a mean times calls);
            then perhaps i32 last chunk, i32 length, name of the calibration text

Our files hold more, which llama.cpp's loader ignores: NAME.in_sum, sums of the activations themselves, and the
remainders of both sums after rounding to float32, NAME.in_sum2_rest and NAME.in_sum_rest, so that a run can resume.

Source: common/imatrix-loader.cpp, tools/imatrix/imatrix.cpp.
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from quantize_cli.formats.bounded_reader import BoundedReader
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import MAGIC, TensorInfo, Value, ValueType, array, text, u32
from quantize_cli.formats.gguf.reader import GgufFile, read_gguf
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import open_input
from quantize_cli.formats.stored import StoredTensor

_SQUARES, _COUNTS, _SUMS, _REST = ".in_sum2", ".counts", ".in_sum", "_rest"
_DATASETS, _CHUNKS, _CONTEXT = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_MODEL, _TOKENS = "quantize.calibration.model_sha256", "quantize.calibration.tokens_sha256"
_HINT = "an importance matrix is an imatrix.gguf or .dat made by quantize calibrate or llama-imatrix"


@dataclass(frozen=True)
class Entry:
    """The activations that the matrices of one weight were multiplied with.

    The .dat format does not say how many matrices a row of values belongs to: there `matrices` is 1 and a stack of
    experts stands in one row.
    """

    squares: np.ndarray
    """Sums of squares, (matrices, columns) f64."""
    counts: np.ndarray
    """Activations that each matrix received, or chunks in a .dat: (matrices,) f64, whole numbers."""
    sums: np.ndarray | None
    """Sums of the activations themselves, (matrices, columns) f64; None where the file has none."""

    @property
    def means(self) -> np.ndarray:
        """Mean squares as llama.cpp computes them, (matrices, columns) f32; ones for a matrix without activations."""
        squares, counts = self.squares.astype(np.float32), self.counts.astype(np.float32)[:, None]
        safe: np.ndarray = np.where(counts > 0, squares / np.where(counts > 0, counts, 1), np.float32(1))
        return safe


@dataclass(frozen=True)
class ImportanceFile:
    """The entries of a file by weight name, and their origin."""

    entries: dict[str, Entry] = field(repr=False)
    datasets: tuple[str, ...]
    chunks: int
    context: int = 0
    """Tokens of a chunk; 0 where the file does not say."""
    model: str = ""
    """SHA-256 of the model; empty where the file does not say, like `tokens`."""
    tokens: str = ""
    """SHA-256 of the tokens of all chunks."""
    counts_chunks: bool = False
    """Counts are of chunks and sums are of chunk means, as in the older format."""

    @property
    def means(self) -> dict[str, np.ndarray]:
        """Mean squared activations by weight name, (matrices, columns) f32."""
        return {name: entry.means for name, entry in self.entries.items()}


def read_imatrix(path: Path) -> ImportanceFile:
    """An importance matrix in either format; FormatError for one that is damaged, empty, negative or not finite."""
    with open_input(path) as file:
        is_gguf = file.read(4) == MAGIC
        file.seek(0)
        importance = _from_gguf(path) if is_gguf else _from_dat(path, file)
    if not importance.entries:
        raise FormatError(f"{path}: no importance in it", _HINT)
    for name, entry in importance.entries.items():
        if not (entry.squares.size and np.isfinite(entry.squares).all() and (entry.squares >= 0).all()):
            raise FormatError(f"{path}: the importance of {quoted(name)} is empty, negative or not finite")
    return importance


def imatrix_bytes(file: ImportanceFile) -> bytes:
    """The file in the newer format, entries sorted by name as llama-imatrix sorts them.

    FormatError for sums that do not fit float32. Sums from `as_stored` are written without loss.
    """
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(file.entries):
        entry = file.entries[name]
        tensors[name + _SQUARES], rest = _split_in_float32(entry.squares)
        tensors[name + _COUNTS] = entry.counts[:, None].astype(np.float32)
        tensors[name + _SQUARES + _REST] = rest
        if entry.sums is not None:
            tensors[name + _SUMS], tensors[name + _SUMS + _REST] = _split_in_float32(entry.sums)
    unfit = next((name for name, values in tensors.items() if not np.isfinite(values).all()), None)
    if unfit is not None:
        raise FormatError(f"{quoted(unfit)} holds what does not fit float32")
    # A single matrix has a vector of sums, as ggml drops trailing dimensions of one.
    shapes = {name: values.shape if len(values) > 1 else values.shape[1:] for name, values in tensors.items()}
    layout = lay_out(_metadata(file), [TensorInfo(name, shape, GgmlType.F32) for name, shape in shapes.items()])
    content = bytearray(layout.header.ljust(layout.nbytes, b"\0"))
    for offset, values in zip(layout.offsets, tensors.values(), strict=True):
        content[offset : offset + values.nbytes] = values.astype("<f4").tobytes()
    return bytes(content)


def to_file_precision(sums: np.ndarray) -> np.ndarray:
    """Sums f64 rounded to the 48 bits that a file keeps; nan for those that do not fit float32."""
    nearest, rest = _split_in_float32(sums)
    with np.errstate(invalid="ignore"):
        restored: np.ndarray = nearest.astype(np.float64) + rest
    return restored


def _split_in_float32(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest float32, and the remainder as another."""
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = sums.astype(np.float32)
        return nearest, (sums - nearest).astype(np.float32)


def _metadata(file: ImportanceFile) -> dict[str, Value]:
    origin = {key: text(digest) for key, digest in ((_MODEL, file.model), (_TOKENS, file.tokens)) if digest}
    return {
        "general.type": text("imatrix"),
        _DATASETS: array(ValueType.STRING, file.datasets),
        _CHUNKS: u32(file.chunks),
        _CONTEXT: u32(file.context),
        **origin,
    }


def _from_gguf(path: Path) -> ImportanceFile:
    file, source = read_gguf(path), f"{path}: "
    if scalars.string(source, file.metadata, "general.type", "") != "imatrix":
        raise FormatError(f"{path}: a gguf file, but its general.type is not 'imatrix'", _HINT)
    stored = {tensor.name: tensor for tensor in file.tensors}
    names = [name.removesuffix(_SQUARES) for name in stored if name.endswith(_SQUARES)]
    return ImportanceFile(
        {name: _entry(path, stored, name) for name in names},
        _datasets(file),
        scalars.integer(source, file.metadata, _CHUNKS, 0),
        scalars.integer(source, file.metadata, _CONTEXT, 0),
        scalars.string(source, file.metadata, _MODEL, ""),
        scalars.string(source, file.metadata, _TOKENS, ""),
    )


def _entry(path: Path, stored: dict[str, StoredTensor], name: str) -> Entry:
    squares, counts = stored[name + _SQUARES], stored.get(name + _COUNTS)
    if counts is None or squares.dtype != "F32" or counts.dtype != "F32" or prod(counts.shape) != squares.row_count:
        raise FormatError(f"{path}: {quoted(squares.name)} has no float32 counts of as many matrices beside it")
    count = counts.rows(0, counts.row_count).reshape(-1)
    if not (np.isfinite(count).all() and (count >= 0).all()):
        raise FormatError(f"{path}: {quoted(counts.name)} is negative or not finite")
    counts64 = np.floor(count + np.float32(0.5)).astype(np.float64)
    tensor = stored.get(name + _SUMS)
    if tensor is None:
        return Entry(_full_precision(path, stored, squares), counts64, None)
    if (tensor.dtype, tensor.shape) != ("F32", squares.shape):
        raise FormatError(f"{path}: {quoted(tensor.name)} is not float32 of the shape of {quoted(squares.name)}")
    sums = _full_precision(path, stored, tensor)
    if not np.isfinite(sums).all():
        raise FormatError(f"{path}: {quoted(tensor.name)} is not finite")
    return Entry(_full_precision(path, stored, squares), counts64, sums)


def _full_precision(path: Path, stored: dict[str, StoredTensor], tensor: StoredTensor) -> np.ndarray:
    """Sums f64: the stored float32 and, where the file has one, its remainder."""
    nearest, rest = tensor.rows(0, tensor.row_count), stored.get(tensor.name + _REST)
    if rest is None:
        return _as_float64(nearest)
    if (rest.dtype, rest.shape) == (tensor.dtype, tensor.shape):
        with np.errstate(over="ignore", invalid="ignore"):
            joined: np.ndarray = nearest.astype(np.float64) + rest.rows(0, rest.row_count)
            if np.array_equal(joined.astype(np.float32), nearest):
                return joined
    raise FormatError(f"{path}: {quoted(rest.name)} is not what rounding {quoted(tensor.name)} left")


def _as_float64(values: np.ndarray) -> np.ndarray:
    """Without the warning for a signaling NaN, which is refused later with the others."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def _datasets(file: GgufFile) -> tuple[str, ...]:
    value = file.metadata.get(_DATASETS)
    if value is None:
        return ()
    if value.element is not ValueType.STRING:
        raise FormatError(
            f"{file.path}: metadata key '{_DATASETS}' is {scalars.value_text(value)}, not an array of strings"
        )
    return tuple(value.data)


def _from_dat(path: Path, file: BinaryIO) -> ImportanceFile:
    reader = BoundedReader(path, file, _HINT)
    entries = {}
    for _ in range(reader.integer("i", "the number of entries")):
        name = reader.text(reader.integer("i", "the length of a name"), "a name")
        calls = reader.integer("i", f"the calls of {quoted(name)}")
        nbytes = 4 * reader.integer("i", "the number of values")
        values = np.frombuffer(reader.take(nbytes, f"the values of {quoted(name)}"), "<f4")
        if name in entries:
            raise FormatError(f"{path}: {quoted(name)} is there twice")
        entries[name] = Entry(_as_float64(values)[None], np.array([max(calls, 1)], np.float64), None)
    chunks = reader.integer("i", "the last chunk") if reader.position < reader.size else 0
    if reader.position == reader.size:
        return ImportanceFile(entries, (), chunks, counts_chunks=True)
    dataset = reader.take(reader.integer("i", "the length of a name"), "the name of the text").decode(errors="replace")
    return ImportanceFile(entries, (dataset,) if dataset else (), chunks, counts_chunks=True)

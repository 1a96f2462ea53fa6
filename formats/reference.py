"""Saved predictions of a model on a text: the reference that others are compared with.

    header   8s "QUANTREF", u32 version (1), u32 context, u32 vocabulary, u32 chunks, u32 texts, u32 exact;
             32 bytes SHA-256 of the vocabulary; the model's name; per text u32 chunks and its name;
             i32 tokens (chunks, context); 32 bytes SHA-256 of all the bytes before
    chunk    u32 CRC-32 of its rows; context - context // 2 - 1 rows, one for each scored position context // 2 and on
    row      f32 nll         -ln p of the observed token
             f32 low, step   of the codes
             f32 tail        ln of the probability of all tokens but the exact ones
             u32 token[exact], f32 log_probability[exact]    the most likely tokens, exact
             u16 code[vocabulary]                            ln p = low + code * step, shifted to sum to `tail`

Names are u32 length and UTF-8. Integers and floats are little endian. Before the shift no coded ln p is off by more
than half a step, which bounds the error of a divergence.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.formats.bounded_reader import BoundedReader
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.source import open_input

MAGIC = b"QUANTREF"
VERSION = 1
_FIXED = struct.Struct("<8s6I32s")
_EXACT = 64
_CODES = 65535
MAX_VOCABULARY = 1 << 24
"""Sixty times the largest known vocabulary; numpy can still describe its rows."""
MIN_CONTEXT = 5
"""The shortest context with two scored tokens, so that even one chunk has a variance."""


@dataclass(frozen=True)
class ReferenceHeader:
    """The header of a saved reference."""

    model: str
    vocabulary: int
    digest: bytes
    """SHA-256 of the vocabulary."""
    texts: tuple[tuple[str, int], ...]
    """Names of the texts in order, each with its number of chunks."""
    tokens: np.ndarray
    """(chunks, context) i32, as the model read them."""

    @property
    def context(self) -> int:
        return int(self.tokens.shape[1])

    @property
    def scored(self) -> int:
        """Rows of a chunk."""
        return self.context - self.context // 2 - 1


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model at consecutive positions."""

    logits: np.ndarray
    """(n, vocabulary) f32; a constant per row has no meaning, unless `are_log_probabilities`."""
    are_log_probabilities: bool = False
    """Whether they are ln p themselves, though their probabilities may not sum to one."""
    nll: np.ndarray | None = None
    """(n,) f64: -ln p of the observed tokens, where it is stored more precisely than the logits."""
    half_steps: np.ndarray | None = None
    """(n,) f64: the largest error of ln p of a token that is not exact; None where it has no bound."""
    exact: np.ndarray | None = None
    """(n, exact) tokens whose ln p is exact."""


def row_type(vocabulary: int) -> np.dtype:
    """The numpy type of a stored row."""
    exact = min(_EXACT, vocabulary - 1)
    return np.dtype([
        ("nll", "<f4"), ("low", "<f4"), ("step", "<f4"), ("tail", "<f4"),
        ("token", "<u4", (exact,)), ("log_probability", "<f4", (exact,)), ("code", "<u2", (vocabulary,)),
    ])  # fmt: skip


def encode_header(header: ReferenceHeader) -> bytes:
    """All bytes before the first chunk."""
    chunks, context = header.tokens.shape
    exact = min(_EXACT, header.vocabulary - 1)
    numbers = (VERSION, context, header.vocabulary, chunks, len(header.texts), exact)
    parts = [_FIXED.pack(MAGIC, *numbers, header.digest), _name(header.model)]
    parts += [struct.pack("<I", count) + _name(name) for name, count in header.texts]
    parts.append(header.tokens.astype("<i4").tobytes())
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def _name(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    return struct.pack("<I", len(encoded)) + encoded


def chunk_nbytes(header: ReferenceHeader) -> int:
    """Bytes of one chunk."""
    return 4 + header.scored * row_type(header.vocabulary).itemsize


def encode_chunk(logits: np.ndarray, tokens: np.ndarray) -> bytes:
    """The stored bytes of a chunk with finite logits (n, vocabulary) f32 and the observed tokens (n,)."""
    count, vocabulary = logits.shape
    rows = np.zeros(count, row_type(vocabulary))
    exact = rows["token"].shape[1]
    for row, values, token in zip(rows, logits.astype(np.float64), tokens, strict=True):
        largest = values.max()
        values -= largest + np.log(np.exp(values - largest).sum())
        likeliest = np.argpartition(values, vocabulary - exact)[-exact:]
        row["nll"] = max(0.0, -values[token])
        row["token"], row["log_probability"] = likeliest, values[likeliest]
        others = np.delete(values, likeliest)
        high = others.max()
        row["tail"] = high + np.log(np.exp(others - high).sum())
        row["low"] = others.min()
        row["step"] = max(0.0, high - np.float64(row["low"])) / _CODES
        step = np.float64(row["step"]) or 1.0
        row["code"] = np.clip(np.rint((values - np.float64(row["low"])) / step), 0, _CODES)
    body = rows.tobytes()
    return struct.pack("<I", zlib.crc32(body)) + body


@dataclass(frozen=True)
class PredictionFile:
    """A file of predictions whose header and size were checked; chunks are read on request."""

    path: Path
    header: ReferenceHeader
    start: int
    """Where the first chunk begins."""

    def chunk_bytes(self, chunk: int, nbytes: int) -> bytes:
        """A chunk of `nbytes` bytes; FormatError when the file ends before."""
        with open_input(self.path) as file:
            file.seek(self.start + chunk * nbytes)
            body = file.read(nbytes)
        if len(body) != nbytes:
            raise FormatError(f"{self.path}: chunk {chunk} needs {nbytes} bytes, the file ends after {len(body)}")
        return body


class ReferenceFile(PredictionFile):
    """A saved reference."""

    def rows(self, chunk: int) -> Predictions:
        """The predictions of a chunk; FormatError when the bytes are damaged or make no sense."""
        body = self.chunk_bytes(chunk, chunk_nbytes(self.header))
        if zlib.crc32(body[4:]) != struct.unpack_from("<I", body)[0]:
            raise FormatError(f"{self.path}: chunk {chunk} is damaged: its checksum is another")
        stored = np.frombuffer(body, row_type(self.header.vocabulary), offset=4)
        self._check(stored, chunk)
        logits = np.empty((len(stored), self.header.vocabulary), np.float32)
        for row, into in zip(stored, logits, strict=True):
            _decode_row(row, into)
        exact = stored["token"].astype(np.int64)
        nll = stored["nll"].astype(np.float64)
        # One percent more for the rounding of the step to float32, and a little for that of the logits.
        half_steps = stored["step"] * 0.505 + np.abs(stored["low"]) * 2.0**-23
        return Predictions(logits, False, nll, half_steps.astype(np.float64), exact)

    def _check(self, stored: np.ndarray, chunk: int) -> None:
        where = f"{self.path}: chunk {chunk}"
        for name in ("nll", "low", "step", "tail", "log_probability"):
            values = stored[name]
            if not (np.isfinite(values).all() and (np.abs(values) < 1e30).all()):
                raise FormatError(f"{where} holds a {name} that is not a finite number")
        if (stored["step"] < 0).any() or (stored["nll"] < 0).any():
            raise FormatError(f"{where} holds a negative step or nll")
        tokens = np.sort(stored["token"], axis=1)
        if (tokens >= self.header.vocabulary).any() or (np.diff(tokens.astype(np.int64), axis=1) == 0).any():
            raise FormatError(f"{where} names a token twice, or one outside of {self.header.vocabulary}")


def _decode_row(row: np.void, into: np.ndarray) -> None:
    """One stored row as ln p, (vocabulary,). Row by row, so that only one row is in float64."""
    values = np.float64(row["low"]) + np.float64(row["step"]) * row["code"]
    values[row["token"]] = -np.inf
    high = values.max()
    values += row["tail"] - (high + np.log(np.exp(values - high).sum()))
    values[row["token"]] = row["log_probability"]
    into[:] = values


def read_reference(path: Path) -> ReferenceFile:
    """The saved reference at `path`; FormatError when its header, counts or size are wrong."""
    with open_input(path) as file:
        reader = BoundedReader(path, file)
        header = _read_header(path, reader)
        end_of_header = reader.position
        file.seek(0)
        expected = hashlib.sha256(file.read(end_of_header)).digest()
        if reader.take(32, "the checksum") != expected:
            raise FormatError(f"{path}: the header is damaged: its checksum is another")
        _check(path, header, reader)
        return ReferenceFile(path, header, reader.position)


def _read_header(path: Path, reader: BoundedReader) -> ReferenceHeader:
    """The header without its checksum."""
    magic, version, *counts, digest = _FIXED.unpack(reader.take(_FIXED.size, "the header"))
    if magic != MAGIC:
        raise FormatError(f"{path}: not a saved reference")
    if version != VERSION:
        raise FormatError(f"{path}: version {version} of the format, only {VERSION} is known")
    context, vocabulary, chunks, text_count, exact = counts
    valid = context >= MIN_CONTEXT and 2 <= vocabulary <= MAX_VOCABULARY and exact == min(_EXACT, vocabulary - 1)
    if not valid or not chunks:
        raise FormatError(
            f"{path}: a context of {context}, a vocabulary of {vocabulary}, {chunks} chunks and {exact} "
            "exact tokens make no reference"
        )
    reader.require(8 * text_count + 4 * chunks * context, "the texts and tokens")
    model = _read_name(reader, "the model's name")
    texts = []
    for _ in range(text_count):
        count = reader.integer("I", "a text")
        texts.append((_read_name(reader, "the name of a text"), count))
    tokens = np.frombuffer(reader.take(4 * chunks * context, "the tokens"), "<i4").reshape(chunks, context)
    return ReferenceHeader(model, vocabulary, digest, tuple(texts), tokens)


def _read_name(reader: BoundedReader, what: str) -> str:
    return reader.text(reader.integer("I", what), what)


def _check(path: Path, header: ReferenceHeader, reader: BoundedReader) -> None:
    """Compare the header with itself, and with the size of the file."""
    chunks = len(header.tokens)
    if sum(count for _, count in header.texts) != chunks or not all(count for _, count in header.texts):
        raise FormatError(f"{path}: the chunks of its texts do not add up to {chunks}")
    if header.tokens.min() < 0 or header.tokens.max() >= header.vocabulary:
        raise FormatError(f"{path}: holds a token outside of a vocabulary of {header.vocabulary}")
    end = reader.position + chunks * chunk_nbytes(header)
    if end != reader.size:
        raise FormatError(f"{path}: {chunks} chunks end at byte {end}, the file at {reader.size}")

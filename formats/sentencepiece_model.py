"""A SentencePiece model: its pieces, and the space it puts before a text (sentencepiece_model.proto).

The file is one protocol buffer message. Only the fields that we use are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from quantize_cli.formats.errors import FormatError

KINDS = {1: "unigram", 2: "BPE", 3: "word", 4: "character"}
"""`trainer_spec.model_type`."""

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_SCORE_TAG = _SCORE << 3 | 5
_MODEL_TYPE = 3
_ADDS_PREFIX = 3
_FLOAT = struct.Struct("<f")

Field = tuple[int, int | bytes]
"""Number and value; a float32 is four bytes."""


class SentencePiece(NamedTuple):
    """One piece; GGUF's token types are SentencePiece's."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class SentencePieceModel:
    """The content of the file."""

    pieces: tuple[SentencePiece, ...]
    """By id."""
    kind: str
    adds_space: bool
    """A space goes before every text."""


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """The model at `path`; FormatError when it is not such a message, or has no pieces."""
    data = path.read_bytes()
    pieces: list[SentencePiece] = []
    kind, normalizer = 1, {_ADDS_PREFIX: 1}
    try:
        for number, value in _fields(data):
            if number == _PIECES and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif number == _TRAINER and isinstance(value, bytes):
                kind = _numbers(value).get(_MODEL_TYPE, kind)
            elif number == _NORMALIZER and isinstance(value, bytes):
                normalizer |= _numbers(value)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: piece {len(pieces)} is not utf-8") from error
    except (_NoMessageError, struct.error) as error:
        raise FormatError(f"{path}: not a sentencepiece model of {len(data)} bytes") from error
    if not pieces:
        raise FormatError(f"{path}: not a sentencepiece model of {len(data)} bytes, it has no pieces")
    named = KINDS.get(kind, f"number {kind}")
    return SentencePieceModel(tuple(pieces), named, bool(normalizer[_ADDS_PREFIX]))


def dummy_prefix_override(adds_space: bool) -> bytes:
    """Bytes to append to a file so that it has this `adds_space`: the last of two equal fields counts."""
    return bytes([_NORMALIZER << 3 | 2, 2, _ADDS_PREFIX << 3, adds_space])


class _NoMessageError(ValueError):
    """The bytes are no protocol buffer message."""


def _piece(data: bytes) -> SentencePiece:
    size = data[1] if len(data) > 1 else 0
    if data[:1] == b"\n" and size < 0x80 and len(data) == size + 7 and data[size + 2] == _SCORE_TAG:
        # Nearly all are a text and a score, and thousands are read each time.
        return SentencePiece(data[2 : size + 2].decode(), _FLOAT.unpack_from(data, size + 3)[0], 1)
    text, score, type_ = b"", 0.0, 1
    for number, value in _fields(data):
        if number == _TEXT and isinstance(value, bytes):
            text = value
        elif number == _SCORE and isinstance(value, bytes):
            (score,) = _FLOAT.unpack(value)
        elif number == _TYPE and isinstance(value, int):
            type_ = value
    return SentencePiece(text.decode(), score, type_)


def _numbers(data: bytes) -> dict[int, int]:
    return {number: value for number, value in _fields(data) if isinstance(value, int)}


def _fields(data: bytes) -> Iterator[Field]:
    """The message's fields in order."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _NoMessageError
        if size > len(data) - at:
            raise _NoMessageError
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    number = shift = 0
    while at < len(data) and shift < 70:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return number, at
    raise _NoMessageError

"""Unigram tokens by the sentencepiece library, from what a GGUF file says: llama.cpp computes what it does."""

import struct
from collections.abc import Callable, Iterator
from functools import cache

from sentencepiece import SentencePieceProcessor

from quantize_cli.errors import InputError
from quantize_cli.tokenizers.vocabulary.gguf_keys import NORMAL, UNKNOWN, Vocabulary

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _UNIGRAM = 3, 1
_CHARACTER_MAP, _ADDS_PREFIX, _MERGES_SPACES, _MARKS_SPACES = 2, 3, 4, 5
"""Fields of sentencepiece_model.proto."""
_FOUR_BYTES = 5
"""The kind of a field that holds a float32."""


def word_encoder(
    vocab: Vocabulary, character_map: bytes, adds_space: bool, merges_spaces: bool
) -> Callable[[str], list[int]]:
    """A function from text, before which a space was put if it `adds_space`, to ids.

    Invalid UTF-8 comes as `surrogateescape` decodes it. InputError for a vocabulary without exactly one unknown token,
    or whose character map is damaged.
    """
    if vocab.types.count(UNKNOWN) != 1:
        raise InputError(f"'tokenizer.ggml.token_type' marks {vocab.types.count(UNKNOWN)} tokens as unknown, not one")
    pieces = b"".join(_pieces(vocab))

    @cache
    def processor(adds: bool) -> SentencePieceProcessor:
        return _processor(pieces, (character_map, adds, merges_spaces, True))

    fewest = _piece("?", 0.0, UNKNOWN) + _piece("a", 0.0, NORMAL)
    mapping = _processor(fewest, (character_map, False, merges_spaces, False))
    processor(adds_space)

    def encode(text: str) -> list[int]:
        raw = (text.removeprefix(" ") if adds_space else text).encode(errors="surrogateescape")
        # llama.cpp puts no space before spaces alone.
        has_letters = bool(mapping.normalize(raw).strip(b" "))
        ids: list[int] = processor(adds_space and has_letters).encode(raw, out_type=int)
        return ids

    return encode


def _processor(pieces: bytes, normalization: tuple[bytes, bool, bool, bool]) -> SentencePieceProcessor:
    """By the character map, and whether a space is put before a text, spaces are merged, and written as their mark."""
    character_map, *switches = normalization
    flags = b"".join(map(_number, (_ADDS_PREFIX, _MERGES_SPACES, _MARKS_SPACES), switches))
    trainer, normalizer = _number(_MODEL_TYPE, _UNIGRAM), _bytes(_CHARACTER_MAP, character_map) + flags
    try:
        return SentencePieceProcessor(model_proto=pieces + _bytes(_TRAINER, trainer) + _bytes(_NORMALIZER, normalizer))
    except RuntimeError as error:
        raise InputError(f"the unigram tokenizer of the file is damaged: {str(error).splitlines()[0]}") from error


def _pieces(vocab: Vocabulary) -> Iterator[bytes]:
    return map(_piece, vocab.texts, vocab.scores, vocab.types)


def _piece(text: str, score: float, type_: int) -> bytes:
    number = bytes([_SCORE << 3 | _FOUR_BYTES]) + struct.pack("<f", score)
    return _bytes(_PIECES, _bytes(_TEXT, text.encode()) + number + _number(_TYPE, type_))


def _bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])

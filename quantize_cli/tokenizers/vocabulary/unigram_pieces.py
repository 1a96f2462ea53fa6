"""Unigram tokens by the sentencepiece library, from what a GGUF file says: llama.cpp computes what it does."""

import struct
from collections.abc import Callable

from sentencepiece import SentencePieceProcessor

from quantize_cli.errors import InputError
from quantize_cli.tokenizers.vocabulary.gguf_keys import NORMAL, UNKNOWN, Vocabulary

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _UNIGRAM = 3, 1
_CHARACTER_MAP, _ADDS_PREFIX, _MERGES_SPACES, _MARKS_SPACES = 2, 3, 4, 5
"""Fields of sentencepiece_model.proto."""
_MARK = "▁".encode()
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
    mapping = _processor(_piece("?", 0.0, UNKNOWN) + _piece("a", 0.0, NORMAL), character_map)
    pieces = _processor(b"".join(map(_piece, vocab.texts, vocab.scores, vocab.types)), b"")

    def encode(text: str) -> list[int]:
        raw = (text.removeprefix(" ") if adds_space else text).encode(errors="surrogateescape")
        mapped = mapping.normalize(raw)
        # The library takes the mark of a space in a text for a space. llama.cpp merges only spaces, and marks words.
        if merges_spaces:
            marked = b"".join(_MARK + word for word in mapped.split(b" ") if word)
        else:
            first = _MARK if adds_space and mapped.strip(b" ") else b""
            marked = first + mapped.replace(b" ", _MARK)
        ids: list[int] = pieces.encode(marked, out_type=int)
        return ids

    return encode


def _processor(pieces: bytes, character_map: bytes) -> SentencePieceProcessor:
    """What replaces characters and finds pieces, and leaves spaces as they are."""
    flags = b"".join(_number(flag, False) for flag in (_ADDS_PREFIX, _MERGES_SPACES, _MARKS_SPACES))
    trainer, normalizer = _number(_MODEL_TYPE, _UNIGRAM), _bytes(_CHARACTER_MAP, character_map) + flags
    try:
        return SentencePieceProcessor(model_proto=pieces + _bytes(_TRAINER, trainer) + _bytes(_NORMALIZER, normalizer))
    except RuntimeError as error:
        raise InputError(f"the unigram tokenizer of the file is damaged: {str(error).splitlines()[0]}") from error


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

"""SentencePiece: pieces with scores over raw text, spaces spelled "▁", and bytes for what no piece spells."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, flag, text
from quantize_cli.tokenizers.vocabulary.ends import ENGINE_EOS
from quantize_cli.tokenizers.vocabulary.merges import UNREACHED_SCORE
from quantize_cli.tokenizers.vocabulary.pieces import stored_pieces
from quantize_cli.tokenizers.vocabulary.rows import Piece, fitted, needs, texts_of
from quantize_cli.tokenizers.vocabulary.special import special_metadata
from quantize_cli.tokenizers.vocabulary.stored import Stored
from quantize_cli.tokenizers.vocabulary.tokenizer import NORMAL, Tokenizer, build, vocabulary
from quantize_cli.tokenizers.vocabulary.unigrams import word_encoder

_MODEL = "llama"
_DEFAULTS = {"bos_id": 1, "eos_id": ENGINE_EOS[_MODEL], "add_bos_token": True, "add_space_prefix": True}
_TRIED = 16
_SPACE = "tokenizer.ggml.add_space_prefix"


def stored(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Stored | None:
    """From tokenizer.model, or from a tokenizer.json with byte fallback; None without either.

    FormatError or InputError when a file is not what it promises.
    """
    found = stored_pieces(checkpoint)
    if found is None:
        return None
    rows = config["vocab_size"]
    special = special_metadata(checkpoint, texts_of(found.by_id, rows), _MODEL)
    pieces, warnings = fitted(found.by_id, rows, needs(checkpoint, special), found.source)
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [piece.score for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        **special,
    }
    # Left out where it is what llama.cpp does anyway.
    space = {} if found.adds_space else {_SPACE: flag(False)}
    settled = {_SPACE: flag(found.adds_space)} if found.is_settled else {}
    return Stored(
        {**metadata, **space},
        found.source,
        found.encode,
        (*found.warnings, *warnings, *_missing_bytes(pieces, found.source)),
        settled,
        texts=tuple(_unreached(pieces)),
    )


def _unreached(pieces: Iterable[Piece]) -> Iterator[str]:
    """Pieces that no merge makes, and llama.cpp may."""
    found = (piece.text.replace("▁", " ") for piece in pieces if piece[1:] == (UNREACHED_SCORE, NORMAL))
    return islice(found, _TRIED)


def _missing_bytes(pieces: Iterable[Piece], source: str) -> list[str]:
    texts = {piece.text for piece in pieces}
    missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in texts and chr(byte) not in texts]
    if not missing:
        return []
    return [f"{source}: no tokens for {len(missing)} of 256 bytes: llama.cpp stops at a text that needs one of them"]


def encoder(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer a GGUF file of this kind describes; InputError when its arrays do not match."""
    words = vocabulary(metadata)
    return build(words, lambda piece: piece.replace("▁", " ").encode(), word_encoder(words), _DEFAULTS)

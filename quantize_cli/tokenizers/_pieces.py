"""The pieces of a SentencePiece vocabulary as a checkpoint stores them, by id."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sentencepiece import SentencePieceProcessor

from formats.checkpoint import Checkpoint
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._added import added_tokenizer, named_specials
from quantize_cli.tokenizers._special import content, looks_special
from quantize_cli.tokenizers._tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

_UNUSED_SCORE = -10000.0
_ADDED_SCORE = -1000.0
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class Piece(NamedTuple):
    """One token."""

    text: str
    score: float
    type: int


def stored_pieces(checkpoint: Checkpoint, config: Mapping[str, Any]) -> list[Piece] | None:
    """From tokenizer.model, else from a tokenizer.json whose BPE falls back to bytes; None when neither is there."""
    path = checkpoint.file("tokenizer.model")
    if path is None:
        return _from_json(checkpoint)
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromFile(str(path))
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: not a sentencepiece model of {path.stat().st_size} bytes") from error
    size = config.get("vocab_size")
    if not isinstance(size, int) or size <= 0:
        size = processor.vocab_size()
    trained = [_trained(processor, token) for token in range(min(size, processor.vocab_size()))]
    pieces = trained + [Piece(f"[PAD{token}]", _UNUSED_SCORE, UNUSED) for token in range(len(trained), size)]
    for token, piece in {**_old_additions(checkpoint), **_additions(checkpoint)}.items():
        if 0 <= token < size:
            pieces[token] = piece
    return pieces


def _trained(processor: SentencePieceProcessor, token: int) -> Piece:
    type_ = NORMAL
    if processor.IsUnknown(token):
        type_ = UNKNOWN
    elif processor.IsControl(token):
        type_ = CONTROL
    elif processor.IsUnused(token):
        type_ = UNUSED
    elif processor.IsByte(token):
        type_ = BYTE
    return Piece(processor.IdToPiece(token), processor.GetScore(token), type_)


def _old_additions(checkpoint: Checkpoint) -> dict[int, Piece]:
    stated = checkpoint.json("added_tokens.json") or {}
    return {token: Piece(name, _ADDED_SCORE, USER_DEFINED) for name, token in stated.items() if isinstance(token, int)}


def _additions(checkpoint: Checkpoint) -> dict[int, Piece]:
    """The tokens that tokenizer_config.json adds or replaces."""
    stated = (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    found = {}
    for key, entry in stated.items() if isinstance(stated, dict) else []:
        name = content(entry)
        if name is None or not re.fullmatch("[0-9]{1,9}", key):
            raise InputError(f"tokenizer_config.json: added token {quoted(key)} has no text, or no id")
        if (isinstance(entry, dict) and entry.get("special")) or looks_special(name):
            found[int(key)] = Piece(name, _ADDED_SCORE, CONTROL)
        else:
            found[int(key)] = Piece(name.replace("▁", " "), _ADDED_SCORE, USER_DEFINED)
    return found


def _from_json(checkpoint: Checkpoint) -> list[Piece] | None:
    """Pieces of a tokenizer.json, which keeps merges instead of scores: all count the same."""
    document = checkpoint.json("tokenizer.json") or {}
    model, decoder = document.get("model"), document.get("decoder")
    if not isinstance(model, dict) or not model.get("byte_fallback") or model.get("type") != "BPE":
        return None
    if not isinstance(decoder, dict) or decoder.get("type") != "Sequence":
        return None
    tokenizer = added_tokenizer(checkpoint)
    specials = named_specials(checkpoint)
    base = tokenizer.get_vocab_size(with_added_tokens=False)
    names = {token: name for name, token in tokenizer.get_vocab().items()}
    pieces = []
    for token in range(len(names)):
        if token not in names:
            raise InputError(f"tokenizer.json: no token has id {token}, of {len(names)} tokens")
        pieces.append(Piece(names[token], _ADDED_SCORE, _json_type(names[token], token < base, specials)))
    return pieces


def _json_type(name: str, is_trained: bool, specials: frozenset[str]) -> int:
    if is_trained and _BYTE.fullmatch(name):
        return BYTE
    if name in specials:
        return CONTROL
    return NORMAL if is_trained else USER_DEFINED

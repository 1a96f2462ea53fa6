"""The pieces of a SentencePiece vocabulary as a checkpoint stores them, by id: in tokenizer.model or tokenizer.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.piece_model import PieceModel, read_piece_model, stating_prefix
from quantize_cli.tokenizers.vocabulary.added import (
    added_tokenizer,
    addition,
    encoder_of,
    moved,
    named_specials,
    old_additions,
    stated_additions,
    unknown_additions,
)
from quantize_cli.tokenizers.vocabulary.merges import can_be_joined, merged_pieces, puts_space_first, ranks_of
from quantize_cli.tokenizers.vocabulary.rows import Piece
from quantize_cli.tokenizers.vocabulary.stored import Encode, model_of, model_type
from quantize_cli.tokenizers.vocabulary.tokenizer import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED

_MODEL, _JSON = "tokenizer.model", "tokenizer.json"


class Pieces(NamedTuple):
    """A vocabulary, the file that is believed, and what that file does to a text."""

    by_id: dict[int, Piece]
    source: str
    adds_space: bool
    is_settled: bool
    """Whether `adds_space` is what the file does, or only what it was made with."""
    encode: Encode
    warnings: tuple[str, ...] = ()


def stored_pieces(checkpoint: Checkpoint) -> Pieces | None:
    """From tokenizer.model and tokenizer.json; None when neither holds a vocabulary of this kind.

    Where both are there and hold the same vocabulary, scores are those of the first, and added tokens those of both.
    Where they hold different ones, tokenizer.json is believed, which is what transformers reads; llama.cpp's converter
    reads the first alone.
    """
    document = checkpoint.json(_JSON)
    model = model_of(document)
    path = checkpoint.file(_MODEL)
    if model_type(model) != "BPE" or not model:
        return None if path is None else _from_model(checkpoint, read_pieces(path))
    if not model.get("byte_fallback"):
        # Byte-level, or without a way to spell what no piece spells; what lies beside it is not used.
        return None
    if path is None:
        return _from_json(checkpoint, added_tokenizer(checkpoint))
    try:
        backend = added_tokenizer(checkpoint)
    except InputError as error:
        return _from_model(checkpoint, read_pieces(path))._replace(warnings=(f"{error}; tokens are those of {_MODEL}",))
    try:
        trained = read_pieces(path)
    except (FormatError, InputError) as error:
        return _believed(checkpoint, backend, str(error))
    return _agreed(checkpoint, path, trained, backend)


def _agreed(checkpoint: Checkpoint, path: Path, trained: PieceModel, backend: Backend) -> Pieces:
    """Of both files where they hold one vocabulary and one order of joining, else of tokenizer.json."""
    base = backend.get_vocab(with_added_tokens=False)
    same = sum(base.get(piece.text) == token for token, piece in enumerate(trained.pieces))
    if same < max(len(trained.pieces), max(base.values(), default=0) + 1):
        others = (
            f"{path}: {same} of its {len(trained.pieces)} pieces are those of tokenizer.json, which has {len(base)}"
        )
        return _believed(checkpoint, backend, others)
    scores = [trained.pieces[base[name]].score for name in ranks_of(_merges(checkpoint), base)]
    if scores != sorted(scores, reverse=True):
        return _believed(checkpoint, backend, f"{path}: its pieces are joined in another order than in tokenizer.json")
    return _from_both(checkpoint, trained, backend)


def _merges(checkpoint: Checkpoint) -> Any:
    return model_of(checkpoint.json(_JSON)).get("merges")


def read_pieces(path: Path) -> PieceModel:
    """A tokenizer.model whose pieces are found by merging; InputError when they are found otherwise."""
    found = read_piece_model(path)
    if found.kind != "BPE":
        raise InputError(
            f"{path}: a sentencepiece model of kind {found.kind} is not supported",
            hint="supported is BPE; llama.cpp would merge the pieces of other kinds in an order they were not made for",
        )
    return found


def _from_model(checkpoint: Checkpoint, trained: PieceModel) -> Pieces:
    source = f"{checkpoint.directory}/{_MODEL}"
    pieces = _trained(trained)
    base = dict(pieces)
    pieces.update(old_additions(checkpoint))
    pieces.update(_listed(checkpoint))
    pieces.update(stated_additions(checkpoint))
    known = {piece.text for piece in pieces.values()}
    missing = [name for name in named_specials(checkpoint) if name not in known]
    pieces.update(enumerate((addition(name, special=True) for name in missing), max(pieces) + 1))
    stated = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    adds_space = stated if isinstance(stated, bool) else trained.adds_space
    own = {
        token: piece for token, piece in pieces.items() if piece is not base.get(token) or piece.type != USER_DEFINED
    }
    return Pieces(pieces, source, adds_space, False, _encoder(source, own, adds_space))


def _listed(checkpoint: Checkpoint) -> dict[int, Piece]:
    """The added tokens that a tokenizer.json of another kind lists."""
    listed = (checkpoint.json(_JSON) or {}).get("added_tokens")
    found = {}
    for entry in listed if isinstance(listed, list) else []:
        name, token = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if isinstance(name, str) and isinstance(token, int):
            found[token] = addition(name, bool(entry.get("special")))
    return found


def _trained(model: PieceModel) -> dict[int, Piece]:
    """The pieces as llama.cpp finds them.

    A user's own are cut out before anything is merged. llama.cpp cuts such tokens out of the text as it is written and
    puts a space after each; where merging finds them as well, it is left to do so.
    """
    names = {piece.text for piece in model.pieces}
    found = {}
    for token, (name, score, type_) in enumerate(model.pieces):
        if type_ == USER_DEFINED and (len(name) == 1 or can_be_joined(name, names)):
            found[token] = Piece(name, score, NORMAL)
        else:
            found[token] = Piece(name.replace("▁", " ") if type_ == USER_DEFINED else name, score, type_)
    return found


def _from_both(checkpoint: Checkpoint, trained: PieceModel, backend: Backend) -> Pieces:
    pieces, id_of = _trained(trained), backend.token_to_id
    if any(piece.type == USER_DEFINED for piece in trained.pieces):
        # tokenizer.json finds them by rules of its own.
        merged = merged_pieces(model_of(checkpoint.json(_JSON)), backend, named_specials(checkpoint))
        pieces |= {token: merged[token] for token in pieces if trained.pieces[token].type == USER_DEFINED}
    for token, piece in {**unknown_additions(checkpoint, backend), **stated_additions(checkpoint)}.items():
        if id_of(piece.text) in (None, token):
            pieces[token] = piece
    for token, added in backend.get_added_tokens_decoder().items():
        held = pieces.get(token)
        if token < len(trained.pieces) and trained.pieces[token].type == USER_DEFINED:
            continue
        if held is None or held.type in (NORMAL, UNUSED) or held.text.replace(" ", "▁") != added.content:
            pieces[token] = addition(added.content, added.special)
    return Pieces(pieces, f"{checkpoint.directory}/{_JSON}", puts_space_first(backend), True, encoder_of(backend))


def _believed(checkpoint: Checkpoint, backend: Backend, reason: str) -> Pieces:
    """tokenizer.json though there is a tokenizer.model."""
    found = _from_json(checkpoint, backend)
    return found._replace(warnings=(f"{reason}; tokens are those of {_JSON}", *found.warnings))


def _from_json(checkpoint: Checkpoint, backend: Backend) -> Pieces:
    document = checkpoint.json(_JSON) or {}
    pieces = merged_pieces(model_of(document), backend, named_specials(checkpoint))
    pieces = {**unknown_additions(checkpoint, backend), **pieces}
    source = f"{checkpoint.directory}/{_JSON}"
    warnings = moved(document, backend, source)
    return Pieces(pieces, source, puts_space_first(backend), True, encoder_of(backend), warnings)


def _encoder(source: str, pieces: Mapping[int, Piece], adds_space: bool) -> Encode:
    """The ids of a text by tokenizer.model, with the tokens beside it cut out first, as transformers does it."""
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(Path(source).read_bytes() + stating_prefix(adds_space))
    except (RuntimeError, OSError) as error:
        raise InputError(f"{source}: not a sentencepiece model") from error
    markers = {piece.text: token for token, piece in pieces.items() if piece.type in (CONTROL, UNKNOWN, USER_DEFINED)}
    longest_first = sorted(filter(None, markers), key=len, reverse=True)
    cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else re.compile("(?!)")

    def encode(text: str) -> list[int]:
        parts = filter(None, cut.split(text))
        return [token for part in parts for token in ([markers[part]] if part in markers else processor.Encode(part))]

    return encode

"""The pieces of a SentencePiece vocabulary by id, from tokenizer.model or tokenizer.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.sentencepiece_model import SentencePieceModel, dummy_prefix_override, read_sentencepiece_model
from quantize_cli.tokenizers.vocabulary import added_tokens
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import Encode, model_of, model_type
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from quantize_cli.tokenizers.vocabulary.merge_scores import adds_space_prefix, can_be_joined, merged_pieces, ranks_of
from quantize_cli.tokenizers.vocabulary.special_tokens import listed_added_tokens

_MODEL, _JSON = "tokenizer.model", "tokenizer.json"


class SentencePieceVocabulary(NamedTuple):
    """A vocabulary, the file that counts, and how that file encodes a text."""

    by_id: dict[int, TokenEntry]
    source: str
    adds_space: bool
    overrides_others: bool
    """Whether the file decides `adds_space`, or only its training did."""
    encode: Encode
    warnings: tuple[str, ...] = ()


def read_vocabulary(checkpoint: Checkpoint) -> SentencePieceVocabulary | None:
    """From tokenizer.model and tokenizer.json; None when neither holds a vocabulary of this kind.

    If both hold the same vocabulary, scores are those of the first, and added tokens those of both. If they differ,
    tokenizer.json counts, as in transformers; llama.cpp's converter reads the first alone.
    """
    document = checkpoint.json(_JSON)
    model = model_of(document)
    path = checkpoint.file(_MODEL)
    if model_type(model) != "BPE" or not model:
        return None if path is None else _from_model(checkpoint, read_pieces(path))
    if not model.get("byte_fallback"):
        # Byte-level, or without byte fallback; a tokenizer.model beside it is not used.
        return None
    if path is None:
        return _from_json(checkpoint, added_tokens.backend_with_added_tokens(checkpoint))
    try:
        backend = added_tokens.backend_with_added_tokens(checkpoint)
    except InputError as error:
        return _from_model(checkpoint, read_pieces(path))._replace(warnings=(f"{error}; tokens are those of {_MODEL}",))
    try:
        trained = read_pieces(path)
    except (FormatError, InputError) as error:
        return _prefer_json(checkpoint, backend, str(error))
    return _combined(checkpoint, path, trained, backend)


def _combined(
    checkpoint: Checkpoint, path: Path, trained: SentencePieceModel, backend: Backend
) -> SentencePieceVocabulary:
    """From both files where they have the same vocabulary and order of merging, else from tokenizer.json."""
    base = backend.get_vocab(with_added_tokens=False)
    same = sum(base.get(piece.text) == token for token, piece in enumerate(trained.pieces))
    if same < max(len(trained.pieces), max(base.values(), default=0) + 1):
        others = (
            f"{path}: {same} of its {len(trained.pieces)} pieces are those of tokenizer.json, which has {len(base)}"
        )
        return _prefer_json(checkpoint, backend, others)
    merges = model_of(checkpoint.json(_JSON)).get("merges")
    scores = [trained.pieces[base[name]].score for name in ranks_of(merges, base)]
    if scores != sorted(scores, reverse=True):
        return _prefer_json(checkpoint, backend, f"{path}: its pieces merge in another order than those of {_JSON}")
    return _from_both(checkpoint, trained, backend)


def read_pieces(path: Path) -> SentencePieceModel:
    """A tokenizer.model of kind BPE; InputError for another kind."""
    model = read_sentencepiece_model(path)
    if model.kind != "BPE":
        raise InputError(
            f"{path}: a sentencepiece model of kind {model.kind} is not supported",
            hint="supported is BPE; llama.cpp would merge the pieces of other kinds in an order they were not made for",
        )
    return model


def _from_model(checkpoint: Checkpoint, trained: SentencePieceModel) -> SentencePieceVocabulary:
    source = f"{checkpoint.directory}/{_MODEL}"
    pieces = _trained(trained)
    base = dict(pieces)
    pieces.update(added_tokens.added_tokens_json(checkpoint))
    pieces.update(_listed(checkpoint))
    pieces.update(added_tokens.config_added_tokens(checkpoint))
    texts = {piece.text for piece in pieces.values()}
    missing = [name for name in added_tokens.special_texts(checkpoint) if name not in texts]
    pieces.update(enumerate((added_tokens.added_token(name, special=True) for name in missing), max(pieces) + 1))
    add_prefix_space = (checkpoint.json("tokenizer_config.json") or {}).get("add_prefix_space")
    adds_space = add_prefix_space if isinstance(add_prefix_space, bool) else trained.adds_space
    own = {
        token: piece for token, piece in pieces.items() if piece is not base.get(token) or piece.type != USER_DEFINED
    }
    return SentencePieceVocabulary(pieces, source, adds_space, False, _encoder(source, own, adds_space))


def _listed(checkpoint: Checkpoint) -> dict[int, TokenEntry]:
    """The added tokens of a tokenizer.json of another kind."""
    entries = {}
    for entry in listed_added_tokens(checkpoint.json(_JSON)):
        name, token = entry.get("content"), entry.get("id")
        if isinstance(name, str) and isinstance(token, int):
            entries[token] = added_tokens.added_token(name, bool(entry.get("special")))
    return entries


def _trained(model: SentencePieceModel) -> dict[int, TokenEntry]:
    """The pieces as llama.cpp finds them.

    User-defined pieces are split off before any merging. llama.cpp does so on the original text, and puts a space after
    each. Where merging finds them too, they become normal pieces.
    """
    names = {piece.text for piece in model.pieces}
    entries = {}
    for token, (name, score, type_) in enumerate(model.pieces):
        if type_ == USER_DEFINED and (len(name) == 1 or can_be_joined(name, names)):
            entries[token] = TokenEntry(name, score, NORMAL)
        else:
            entries[token] = TokenEntry(name.replace("▁", " ") if type_ == USER_DEFINED else name, score, type_)
    return entries


def _from_both(checkpoint: Checkpoint, trained: SentencePieceModel, backend: Backend) -> SentencePieceVocabulary:
    pieces, id_of = _trained(trained), backend.token_to_id
    if any(piece.type == USER_DEFINED for piece in trained.pieces):
        # tokenizer.json finds them by other rules.
        from_json = merged_pieces(model_of(checkpoint.json(_JSON)), backend, added_tokens.special_texts(checkpoint))
        pieces |= {token: from_json[token] for token in pieces if trained.pieces[token].type == USER_DEFINED}
    for token, piece in {
        **added_tokens.missing_added_tokens(checkpoint, backend),
        **added_tokens.config_added_tokens(checkpoint),
    }.items():
        if id_of(piece.text) in (None, token):
            pieces[token] = piece
    for token, added in backend.get_added_tokens_decoder().items():
        held = pieces.get(token)
        if token < len(trained.pieces) and trained.pieces[token].type == USER_DEFINED:
            continue
        if held is None or held.type in (NORMAL, UNUSED) or held.text.replace(" ", "▁") != added.content:
            pieces[token] = added_tokens.added_token(added.content, added.special)
    source, encode = f"{checkpoint.directory}/{_JSON}", added_tokens.backend_encode(backend)
    return SentencePieceVocabulary(pieces, source, adds_space_prefix(backend), True, encode)


def _prefer_json(checkpoint: Checkpoint, backend: Backend, reason: str) -> SentencePieceVocabulary:
    """The vocabulary of tokenizer.json, with a warning why tokenizer.model does not count."""
    vocabulary = _from_json(checkpoint, backend)
    return vocabulary._replace(warnings=(f"{reason}; tokens are those of {_JSON}", *vocabulary.warnings))


def _from_json(checkpoint: Checkpoint, backend: Backend) -> SentencePieceVocabulary:
    document = checkpoint.json(_JSON) or {}
    pieces = merged_pieces(model_of(document), backend, added_tokens.special_texts(checkpoint))
    pieces = {**added_tokens.missing_added_tokens(checkpoint, backend), **pieces}
    source = f"{checkpoint.directory}/{_JSON}"
    warnings, encode = added_tokens.renumbered_warnings(document, backend, source), added_tokens.backend_encode(backend)
    return SentencePieceVocabulary(pieces, source, adds_space_prefix(backend), True, encode, warnings)


def _encoder(source: str, pieces: Mapping[int, TokenEntry], adds_space: bool) -> Encode:
    """The encoding by tokenizer.model, with added tokens split off first, as in transformers."""
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(Path(source).read_bytes() + dummy_prefix_override(adds_space))
    except (RuntimeError, OSError) as error:
        raise InputError(f"{source}: not a sentencepiece model") from error
    special_tokens = {
        piece.text: token for token, piece in pieces.items() if piece.type in (CONTROL, UNKNOWN, USER_DEFINED)
    }
    longest_first = sorted(filter(None, special_tokens), key=len, reverse=True)
    cut = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else re.compile("(?!)")

    def encode(text: str) -> list[int]:
        parts = filter(None, cut.split(text))
        return [
            token
            for part in parts
            for token in ([special_tokens[part]] if part in special_tokens else processor.Encode(part))
        ]

    return encode

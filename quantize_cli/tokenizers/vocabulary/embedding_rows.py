"""One token for each row of the embedding, for every kind of tokenizer: llama.cpp refuses any other number."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, UNUSED, USER_DEFINED
from quantize_cli.tokenizers.vocabulary.special_tokens import special_metadata, token_text

PADDING_SCORE = -10000.0
_SHOWN = 3
_HINT = "give the model's embedding a row for each token and train it, or take the tokenizer files of its base model"


class TokenEntry(NamedTuple):
    """One token."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class RequiredTokens:
    """Tokens that a file must have: those that begin and end its texts, and those in its chat templates."""

    texts: frozenset[str]
    ids: frozenset[int]
    templates: str

    def reason_for(self, token: int, piece: TokenEntry) -> str | None:
        if piece.text in self.texts or token in self.ids:
            return "a text begins or ends with it"
        if piece.type in (CONTROL, USER_DEFINED) and piece.text in self.templates:
            return "the chat template uses it"
        return None


def embedding_tokens(
    checkpoint: Checkpoint, entries: Mapping[int, TokenEntry], rows: int, model: str, source: str
) -> tuple[list[TokenEntry], dict[str, Value], tuple[str, ...]]:
    """The token of each row, the keys of the special tokens, and warnings of tokens that are left out."""
    special = special_metadata(checkpoint, row_texts(entries, rows), model)
    tokens, warnings = fit_to_embedding(entries, rows, required_tokens(checkpoint, special), source)
    return tokens, special, warnings


def required_tokens(checkpoint: Checkpoint, special: Mapping[str, Value]) -> RequiredTokens:
    """Those of a checkpoint; `special` are the keys of its special tokens and chat templates."""
    config = checkpoint.json("tokenizer_config.json") or {}
    configured = {**(checkpoint.json("special_tokens_map.json") or {}), **config}
    begins = special.get("tokenizer.ggml.add_bos_token")
    kinds = ("eos",) if begins is not None and not begins.data else ("bos", "eos")
    names = (token_text(configured.get(f"{kind}_token")) for kind in kinds)
    configs = (checkpoint.config or {}, checkpoint.json("generation_config.json") or {})
    ids = (number for described in configs for kind in kinds for number in _numbers(described.get(f"{kind}_token_id")))
    templates = [str(value.data) for key, value in special.items() if key.startswith("tokenizer.chat_template")]
    return RequiredTokens(frozenset(filter(None, names)), frozenset(ids), "\n".join(templates))


def _numbers(value: Any) -> list[int]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]


def row_texts(pieces: Mapping[int, TokenEntry], rows: int) -> list[str]:
    """The text of each row's token; that of a padding token for a row without a token, or with a repeated text."""
    repeated = _with_repeated_text(pieces)
    texts = {token: piece.text for token, piece in pieces.items() if token not in repeated}
    return [texts.get(token, f"[PAD{token}]") for token in range(rows)]


def fit_to_embedding(
    pieces: Mapping[int, TokenEntry], rows: int, required: RequiredTokens, where: str
) -> tuple[list[TokenEntry], tuple[str, ...]]:
    """The token of each row, and warnings of tokens that are left out.

    A row without a token gets a padding token, and so does one whose text another token has. A token without a row is
    left out; InputError when it is required.
    """
    beyond = [token for token in sorted(pieces) if token >= rows]
    for token in beyond:
        reason = required.reason_for(token, pieces[token])
        if reason:
            raise InputError(
                f"{where}: token {quoted(pieces[token].text)} has id {token}, "
                f"the model's embedding has {rows} rows, and {reason}",
                hint=_HINT,
            )
    held = {token: piece for token, piece in pieces.items() if token < rows}
    repeated = _with_repeated_text(held)
    kept = {token: piece for token, piece in held.items() if token not in repeated}
    taken = {piece.text for piece in kept.values()}
    tokens = [kept[token] if token in kept else _padding(token, taken) for token in range(rows)]
    return tokens, tuple(_warnings(pieces, beyond, repeated, rows, where))


def _with_repeated_text(pieces: Mapping[int, TokenEntry]) -> set[int]:
    """Tokens whose text another token keeps: a special token before others, then the one with the lowest id."""
    if len({piece.text for piece in pieces.values()}) == len(pieces):
        return set()
    owners: dict[str, int] = {}
    order = sorted(pieces, key=lambda token: (pieces[token].type not in (CONTROL, USER_DEFINED), token))
    return {token for token in order if owners.setdefault(pieces[token].text, token) != token}


def _padding(token: int, taken: Collection[str]) -> TokenEntry:
    name = f"[PAD{token}]"
    while name in taken:
        name = f"[{name}]"
    return TokenEntry(name, PADDING_SCORE, UNUSED)


def _warnings(
    pieces: Mapping[int, TokenEntry], beyond: list[int], repeated: set[int], rows: int, where: str
) -> Iterator[str]:
    if beyond:
        yield (
            f"{where}: {len(pieces)} tokens for an embedding of {rows} rows, "
            f"those without a row are left out: {_named(pieces, beyond)}"
        )
    if repeated:
        yield f"{where}: tokens with the text of another are left out: {_named(pieces, sorted(repeated))}"


def _named(pieces: Mapping[int, TokenEntry], tokens: list[int]) -> str:
    more = [f"and {len(tokens) - _SHOWN} more"] if len(tokens) > _SHOWN else []
    return ", ".join([*(f"{quoted(pieces[token].text)} ({token})" for token in tokens[:_SHOWN]), *more])

"""Text to tokens and back, as llama.cpp does it; the kinds differ in what they do between markers."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.end_tokens import EOG_IDS_KEY, ROLES, engine_eog_tokens
from quantize_cli.tokenizers.vocabulary.gguf_keys import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
    vocabulary,
)

__all__ = [
    "BYTE",
    "CONTROL",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Tokenizer",
    "Vocabulary",
    "build",
    "vocabulary",
]

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SHIELD = "\ufdd0"
"""A code point that no text has: Unicode keeps it for use within a program."""


@dataclass(frozen=True)
class Tokenizer:
    """A text's tokens and a token's bytes."""

    pieces: tuple[bytes, ...] = field(repr=False)
    """By id, what the token says; markers say their own name."""
    control_ids: frozenset[int] = field(repr=False)
    """Control and unknown tokens: found in a text only on request, and left out of what is decoded."""
    special_tokens: tuple[tuple[str, int], ...] = field(repr=False)
    """Texts that are tokens before anything else is cut, longest first."""
    encode_words: Callable[[str], list[int]] = field(repr=False)
    """The ids of a text between markers."""
    bos_id: int | None
    eos_id: int | None
    end_ids: frozenset[int]
    """Tokens after which nothing is generated."""
    adds_bos: bool
    adds_eos: bool
    adds_space: bool
    """A space goes before a text that begins, or follows a marker."""

    def shielded(self, text: str) -> str:
        """`text` for `encode_shielded`, which reads no control token out of it."""
        text = text.replace(_SHIELD, "")
        for marker, token in self.special_tokens:
            if token in self.control_ids:
                text = text.replace(marker, marker[:1] + _SHIELD + marker[1:])
        return text

    def encode_shielded(self, text: str) -> list[int]:
        """The ids of a text with control tokens, except in what was `shielded` when it went into the text."""
        plain = replace(self, encode_words=lambda words: self.encode_words(words.replace(_SHIELD, "")))
        return plain.encode(text, add_special=False, parse_special=True)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`, as llama_tokenize gives them.

        `add_special` adds the tokens that begin and end a text, where the model has them; `parse_special` reads
        control tokens out of the text, which is for templates and never for what a user wrote. Bytes that are no
        UTF-8, which a command line may have, come as `surrogateescape` decodes them and are read as llama.cpp reads
        them; any other half of a surrogate pair is read as "?".
        """
        text = _HALVES.sub("?", text)
        ids = [self.bos_id] if add_special and self.adds_bos and self.bos_id is not None else []
        after_marker = True
        for fragment in self._fragments(text, parse_special):
            if isinstance(fragment, int):
                ids.append(fragment)
            else:
                ids += self.encode_words(" " + fragment if self.adds_space and after_marker else fragment)
            after_marker = isinstance(fragment, int)
        if add_special and self.adds_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, without the space that encoding put first; bytes that are no UTF-8 become U+FFFD."""
        raw = self.decode_bytes(ids)
        return (raw.removeprefix(b" ") if self.adds_space else raw).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """What the ids say, one after the other; a character may be cut between two tokens."""
        return b"".join(self.pieces[token] for token in ids if token not in self.control_ids)

    def _fragments(self, text: str, parse_special: bool) -> Iterator[str | int]:
        """The text cut at its markers, each of which is cut out everywhere before a shorter one is looked for."""
        fragments: list[str | int] = [text] if text else []
        for marker, token in self.special_tokens:
            if marker in text and (parse_special or token not in self.control_ids):
                fragments = [piece for fragment in fragments for piece in _cut(fragment, marker, token)]
        return iter(fragments)


def _cut(fragment: str | int, marker: str, token: int) -> Iterator[str | int]:
    if isinstance(fragment, int):
        yield fragment
        return
    for index, part in enumerate(fragment.split(marker)):
        if index:
            yield token
        if part:
            yield part


def build(
    vocab: Vocabulary,
    token_bytes: Callable[[str], bytes],
    encode_words: Callable[[str], list[int]],
    defaults: Mapping[str, Any],
) -> Tokenizer:
    """A tokenizer of a file's vocabulary; `token_bytes` gives a normal token's bytes.

    `defaults` are what its kind does unless the file says otherwise: bos_id, eos_id, add_bos_token, add_space_prefix.
    """
    ids = {text: token for token, text in enumerate(vocab.texts)}
    keyed = {role: token for role in ROLES if (token := vocab.token(role)) is not None}
    eos = vocab.token("eos", defaults["eos_id"])
    eog = engine_eog_tokens(ids, keyed if eos is None else {**keyed, "eos": eos})
    types = tuple(eog.retyped.get(token, type_) for token, type_ in enumerate(vocab.types))
    control_ids = {token for token, type_ in enumerate(types) if type_ in (CONTROL, UNKNOWN)}
    special_tokens = control_ids | {token for token, type_ in enumerate(types) if type_ == USER_DEFINED}
    by_length = sorted(special_tokens, key=lambda token: len(vocab.texts[token].encode()), reverse=True)
    return Tokenizer(
        pieces=tuple(_piece(text, type_, token_bytes) for text, type_ in zip(vocab.texts, types, strict=True)),
        control_ids=frozenset(control_ids),
        special_tokens=tuple((vocab.texts[token], token) for token in by_length),
        encode_words=encode_words,
        bos_id=vocab.token("bos", defaults["bos_id"]),
        eos_id=eos,
        end_ids=eog.ends.union(vocab.tokens(EOG_IDS_KEY)),
        adds_bos=vocab.flag("add_bos_token", defaults["add_bos_token"]),
        adds_eos=vocab.flag("add_eos_token", False),
        adds_space=vocab.flag("add_space_prefix", defaults["add_space_prefix"]),
    )


def _piece(text: str, type_: int, token_bytes: Callable[[str], bytes]) -> bytes:
    if type_ in (CONTROL, UNKNOWN, USER_DEFINED):
        return text.encode()
    if type_ == NORMAL:
        return token_bytes(text)
    return byte_of(text) if type_ == BYTE else b""


def byte_of(text: str) -> bytes:
    """The byte a token like <0x0A> stands for; InputError when it is spelled otherwise."""
    if not _BYTE.fullmatch(text):
        raise InputError(f"byte token {quoted(text)} is not spelled like '<0x0A>'")
    return bytes.fromhex(text[3:5])

"""Text to tokens and back, as in llama.cpp; the kinds differ only in the text between special tokens."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.end_tokens import EOG_IDS_KEY, ROLES, llama_cpp_eog_tokens
from quantize_cli.tokenizers.vocabulary.gguf_keys import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
)

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SHIELD = "\ufdd0"
"""A code point that Unicode reserves for use within a program, so no text has it."""


@dataclass(frozen=True)
class Tokenizer:
    """A text's tokens and a token's bytes."""

    pieces: tuple[bytes, ...] = field(repr=False)
    """By id, the bytes of the token; those of a special token are its name."""
    control_ids: frozenset[int] = field(repr=False)
    """Control and unknown tokens: read in a text only on request, and left out when decoding."""
    special_tokens: tuple[tuple[str, int], ...] = field(repr=False)
    """Texts and ids of tokens that are split off before anything else, longest first."""
    encode_words: Callable[[str], list[int]] = field(repr=False)
    """The ids of a text between special tokens."""
    bos_id: int | None
    eos_id: int | None
    end_ids: frozenset[int]
    """Tokens after which nothing is generated."""
    adds_bos: bool
    adds_eos: bool
    adds_space: bool
    """A space goes before the text, and before text after a special token."""

    def escape_control_tokens(self, text: str) -> str:
        """`text` with its control tokens escaped, so that `encode_escaped` reads them as text."""
        text = text.replace(_SHIELD, "")
        for marker, token in self.special_tokens:
            if token in self.control_ids:
                text = text.replace(marker, marker[:1] + _SHIELD + marker[1:])
        return text

    def encode_escaped(self, text: str) -> list[int]:
        """The ids of a text with control tokens, except those that `escape_control_tokens` escaped."""
        plain = replace(self, encode_words=lambda words: self.encode_words(words.replace(_SHIELD, "")))
        return plain.encode(text, add_special=False, parse_special=True)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`, as llama_tokenize gives them.

        `add_special` adds the tokens that begin and end a text, where the model has them. `parse_special` reads control
        tokens in the text, which is for templates and never for a user's text. Invalid UTF-8 comes as `surrogateescape`
        decodes it and is read as in llama.cpp; any other half of a surrogate pair is read as "?".
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
        """The text of the ids, without the space that encoding adds; invalid UTF-8 becomes U+FFFD."""
        raw = self.decode_bytes(ids)
        return (raw.removeprefix(b" ") if self.adds_space else raw).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of the ids; a character may be split between two tokens."""
        return b"".join(self.pieces[token] for token in ids if token not in self.control_ids)

    def _fragments(self, text: str, parse_special: bool) -> Iterator[str | int]:
        """The text split at its special tokens. All occurrences of one are split off before those of a shorter one."""
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
    """The tokenizer of a file's vocabulary; `token_bytes` gives the bytes of a normal token.

    `defaults` are those of its kind: bos_id, eos_id, add_bos_token, add_space_prefix.
    """
    ids = {text: token for token, text in enumerate(vocab.texts)}
    keyed = {role: token for role in ROLES if (token := vocab.token(role)) is not None}
    eos = vocab.token("eos", defaults["eos_id"])
    eog = llama_cpp_eog_tokens(ids, keyed if eos is None else {**keyed, "eos": eos})
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
    """The bytes of a token; InputError for a byte token that is not spelled like <0x0A>."""
    if type_ in (CONTROL, UNKNOWN, USER_DEFINED):
        return text.encode()
    if type_ == NORMAL:
        return token_bytes(text)
    if type_ != BYTE:
        return b""
    if not _BYTE.fullmatch(text):
        raise InputError(f"byte token {quoted(text)} is not spelled like '<0x0A>'")
    return bytes.fromhex(text[3:5])

"""Text to tokens and back, as llama.cpp does it; the kinds differ in what they do between markers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from formats.gguf.layout import Value
from formats.quoted import quoted
from quantize_cli.errors import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""`tokenizer.ggml.token_type` (enum llama_token_type)."""

_ENDS = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<turn|>"),
        *("<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<|tool_response>"),
        *("<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<｜end▁of▁sentence｜>", "[e~[", "<|file_sep|>"),
        *("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
        *("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    )
)
"""Texts that end a generation, whatever type the file gives them (llama-vocab.cpp)."""
_INFILL = frozenset(
    (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>"),
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>"),
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>"),
        *("<|prefix|>", "<|suffix|>", "<|middle|>"),
    )
)
"""Texts that are markers too, whatever type the file gives them."""


_SHIELD = "\ufdd0"
"""A code point that no text has: Unicode keeps it for use within a program."""


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokens, by id."""

    texts: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    metadata: Mapping[str, Value] = field(repr=False)

    def value(self, key: str, default: Any) -> Any:
        """What the file says under `tokenizer.ggml.<key>`, or the default."""
        found = self.metadata.get(f"tokenizer.ggml.{key}")
        return default if found is None else found.data

    def token(self, key: str, default: int | None = None) -> int | None:
        """A special token's id; ids beyond the vocabulary count as unsaid, as in llama.cpp."""
        for number in (self.value(f"{key}_token_id", default), default):
            if isinstance(number, int) and 0 <= number < len(self.texts):
                return number
        return None


def vocabulary(metadata: Mapping[str, Value]) -> Vocabulary:
    """The tokens a GGUF file lists; InputError when its arrays are missing or do not match."""
    texts = _array(metadata, "tokens", None)
    types = _array(metadata, "token_type", [NORMAL] * len(texts))
    scores = _array(metadata, "scores", [0.0] * len(texts))
    for name, found in (("token_type", types), ("scores", scores)):
        if len(found) < len(texts):
            raise InputError(f"'tokenizer.ggml.{name}' has {len(found)} entries for {len(texts)} tokens")
    named = (text if text else f"[EMPTY_{token}]" for token, text in enumerate(texts))
    return Vocabulary(tuple(named), tuple(map(int, types)), tuple(map(float, scores)), metadata)


def _array(metadata: Mapping[str, Value], name: str, default: Sequence[Any] | None) -> Sequence[Any]:
    found = metadata.get(f"tokenizer.ggml.{name}")
    if found is None and default is not None:
        return default
    if found is None or found.element is None:
        raise InputError(f"'tokenizer.ggml.{name}' is missing or no array")
    items: Sequence[Any] = found.data
    return items


@dataclass(frozen=True)
class Tokenizer:
    """A text's tokens and a token's bytes."""

    pieces: tuple[bytes, ...] = field(repr=False)
    """By id, what the token says; markers say their own name."""
    silent: frozenset[int] = field(repr=False)
    """Control and unknown tokens: found in a text only on request, and left out of what is decoded."""
    markers: tuple[tuple[str, int], ...] = field(repr=False)
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
        for marker, token in self.markers:
            if token in self.silent:
                text = text.replace(marker, marker[:1] + _SHIELD + marker[1:])
        return text

    def encode_shielded(self, text: str) -> list[int]:
        """The ids of a text with control tokens, except in what was `shielded` when it went into the text."""
        plain = replace(self, encode_words=lambda words: self.encode_words(words.replace(_SHIELD, "")))
        return plain.encode(text, add_special=False, parse_special=True)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`, as llama_tokenize gives them.

        `add_special` adds the tokens that begin and end a text, where the model has them; `parse_special` reads
        control tokens out of the text, which is for templates and never for what a user wrote. Half a surrogate
        pair, which no file holds but a command line may, is read as "?".
        """
        text = text.encode(errors="replace").decode()
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
        said = self.decode_bytes(ids)
        return (said.removeprefix(b" ") if self.adds_space else said).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """What the ids say, one after the other; a character may be cut between two tokens."""
        return b"".join(self.pieces[token] for token in ids if token not in self.silent)

    def _fragments(self, text: str, parse_special: bool) -> Iterator[str | int]:
        """The text cut at its markers, each of which is cut out everywhere before a shorter one is looked for."""
        fragments: list[str | int] = [text] if text else []
        for marker, token in self.markers:
            if marker in text and (parse_special or token not in self.silent):
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
    words: Vocabulary,
    say: Callable[[str], bytes],
    encode_words: Callable[[str], list[int]],
    defaults: Mapping[str, Any],
) -> Tokenizer:
    """A tokenizer of a file's vocabulary; `say` gives a normal token's bytes.

    `defaults` are what its kind does unless the file says otherwise: bos_id, eos_id, add_bos_token, add_space_prefix.
    """
    named = {token for token, text in enumerate(words.texts) if text in _ENDS or text in _INFILL}
    control = named | {token for token, type_ in enumerate(words.types) if type_ == CONTROL}
    silent = control | {token for token, type_ in enumerate(words.types) if type_ == UNKNOWN}
    markers = silent | {token for token, type_ in enumerate(words.types) if type_ == USER_DEFINED}
    eos = words.token("eos", defaults["eos_id"])
    ends = {eos, words.token("eot"), words.token("eom"), *(token for token in named if words.texts[token] in _ENDS)}
    by_length = sorted(markers, key=lambda token: len(words.texts[token].encode()), reverse=True)
    return Tokenizer(
        pieces=tuple(_piece(words, token, markers, say) for token in range(len(words.texts))),
        silent=frozenset(silent),
        markers=tuple((words.texts[token], token) for token in by_length),
        encode_words=encode_words,
        bos_id=words.token("bos", defaults["bos_id"]),
        eos_id=eos,
        end_ids=frozenset(token for token in ends if token is not None),
        adds_bos=bool(words.value("add_bos_token", defaults["add_bos_token"])),
        adds_eos=bool(words.value("add_eos_token", False)),
        adds_space=bool(words.value("add_space_prefix", defaults["add_space_prefix"])),
    )


def _piece(words: Vocabulary, token: int, markers: set[int], say: Callable[[str], bytes]) -> bytes:
    text, type_ = words.texts[token], words.types[token]
    if token in markers:
        return text.encode()
    if type_ == NORMAL:
        return say(text)
    return byte_of(text) if type_ == BYTE else b""


def byte_of(text: str) -> bytes:
    """The byte a token like <0x0A> stands for; InputError when it is spelled otherwise."""
    try:
        return bytes([int(text[3:5], 16)])
    except ValueError as error:
        raise InputError(f"byte token {quoted(text)} is not spelled like '<0x0A>'") from error

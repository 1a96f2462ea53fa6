"""Compares the tokens of the GGUF file with those of the checkpoint, on the same texts."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary import sample_texts
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer, Encode
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer

_Item = TypeVar("_Item")

_MARKERS = 12
"""Special tokens of the vocabulary that are tried."""
_OWN_TOKENS = 48
"""Other tokens that are tried."""
_SHOWN = 5
"""Tokens in a message, from the first difference on."""


class Difference(NamedTuple):
    """A text with two encodings."""

    group: str
    text: str
    expected: list[int]
    actual: list[int]


def compare_encodings(stored: CheckpointTokenizer, own: Encode, tokenizer: Tokenizer) -> tuple[str, ...]:
    """A warning when `tokenizer`, which is as llama.cpp's, and `own`, the checkpoint's, encode texts differently.

    InputError when most ordinary texts differ: the model was trained on other tokens.
    """
    texts = [*_texts(tokenizer), *((sample_texts.OWN_TOKENS, text) for text in stored.texts)]
    differences = [
        Difference(group, text, expected, actual)
        for group, text in texts
        for expected, actual in ((own(text), tokenizer.encode(text, add_special=False, parse_special=True)),)
        if expected != actual
    ]
    if not differences:
        return ()
    message = (
        f"{stored.source}: llama.cpp splits {len(differences)} of {len(texts)} built-in texts differently, "
        f"{_shown(differences, tokenizer)}"
    )
    ordinary = sum(difference.group == sample_texts.ORDINARY for difference in differences)
    if 2 * ordinary > len(sample_texts.TEXTS[sample_texts.ORDINARY]):
        raise InputError(
            message,
            hint="the file would read other tokens than the model was trained on: llama.cpp has no such tokenizer",
        )
    return (message,)


def _texts(tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """Group and text."""
    for group, texts in sample_texts.TEXTS.items():
        for text in texts:
            yield group, text
    for marker in _evenly_spaced([text for text, _ in tokenizer.special_tokens if text.strip()], _MARKERS):
        for text in sample_texts.with_token(marker):
            yield sample_texts.MARKERS, text
    marked = {token for _, token in tokenizer.special_tokens}
    plain = range(len(tokenizer.pieces))
    for token in _evenly_spaced([token for token in plain if token not in marked], _OWN_TOKENS):
        piece_text = tokenizer.pieces[token].decode(errors="ignore")
        if piece_text:
            yield sample_texts.OWN_TOKENS, f"a{piece_text}"


def _evenly_spaced(items: Sequence[_Item], count: int) -> Sequence[_Item]:
    """`count` of the items, evenly spaced."""
    return items[:: max(1, len(items) // count)][:count]


def _shown(differences: list[Difference], tokenizer: Tokenizer) -> str:
    groups = list(dict.fromkeys(difference.group for difference in differences))
    first = min(differences, key=lambda difference: len(difference.text))
    pairs = zip(first.expected, first.actual, strict=False)
    at = next((at for at, (left, right) in enumerate(pairs) if left != right), len(first.expected))
    expected, actual = (_pieces(ids, at - 1, tokenizer) for ids in (first.expected, first.actual))
    bare = {marker for marker, _ in tokenizer.special_tokens}
    lost = any(difference.text in bare for difference in differences)
    reasons = (
        [] if lost else [sample_texts.KNOWN_DIFFERENCES[it] for it in groups if it in sample_texts.KNOWN_DIFFERENCES]
    )
    explanation = f" ({'; '.join(reasons)})" if len(reasons) == len(groups) else ""
    return f"of {', '.join(groups)}: {quoted(first.text)} becomes {actual}, not {expected}{explanation}"


def _pieces(ids: list[int], at: int, tokenizer: Tokenizer) -> str:
    """The tokens from position `at` on."""
    start = at if at > 1 else 0
    named = [_name(token, tokenizer) for token in ids[start : start + _SHOWN]]
    return f"[{'... ' if start else ''}{' '.join(named)}{' ...' if len(ids) > start + _SHOWN else ''}]"


def _name(token: int, tokenizer: Tokenizer) -> str:
    """A token's text, or its id where it is not UTF-8."""
    try:
        return repr(tokenizer.pieces[token].decode())
    except (UnicodeDecodeError, IndexError):
        return str(token)

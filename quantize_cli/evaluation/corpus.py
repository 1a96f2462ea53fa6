"""A text file as chunks of tokens, cut as llama-perplexity cuts it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation.first_tokens import start_of
from quantize_cli.evaluation.special_tokens import control_token_notice, count_control_tokens, is_worth_a_notice
from quantize_cli.formats.reference import MIN_CONTEXT
from quantize_cli.tokenizers import Tokenizer


@dataclass(frozen=True)
class Reading:
    """How a text becomes tokens."""

    special: bool = False
    """Control tokens in the text are read as tokens, not as letters."""
    notice: Callable[[str], None] = lambda message: None
    """Called with a message about the text."""


AS_LETTERS = Reading()


def read_text(path: Path) -> str:
    """The file's text without one newline at its end, as in llama.cpp's tools; InputError if unreadable."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the text: {(error.strerror or 'unknown error').lower()}") from error
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} of {len(raw)} is not utf-8 text") from error
    return text.removesuffix("\n")


def read_chunks(
    path: Path, tokenizer: Tokenizer, context: int = 512, limit: int | None = None, reading: Reading = AS_LETTERS
) -> np.ndarray:
    """The first `limit` whole chunks of the text's tokens, (chunks, context) int32.

    If the vocabulary adds BOS, it replaces the first token of each chunk. Tokens after the last whole chunk are
    dropped. InputError, as in llama-perplexity, when the text does not fill two chunks, whatever the limit, and for a
    vocabulary that adds EOS.
    """
    if context < MIN_CONTEXT:
        raise UsageError(f"a context of {context} tokens is too short to score, at least {MIN_CONTEXT} are needed")
    if limit is not None and limit < 1:
        raise UsageError(f"cannot measure {limit} chunks, at least 1 is needed")
    if tokenizer.adds_eos:
        raise InputError("the vocabulary ends every text with a token, which chunks of a text cannot have")
    tokens = _tokens(path, tokenizer, None if limit is None else max(limit, 2) * context, reading)
    if len(tokens) < 2 * context:
        raise InputError(
            f"{path}: the text is {len(tokens)} tokens long, {2 * context} are needed for a context of {context}",
            hint="use a longer text or a shorter context",
        )
    whole = len(tokens) // context
    chunks = np.array(tokens[: whole * context], np.int32).reshape(whole, context)[:limit]
    if tokenizer.adds_bos and tokenizer.bos_id is not None:
        chunks[:, 0] = tokenizer.bos_id
    return chunks


def _tokens(path: Path, tokenizer: Tokenizer, count: int | None, reading: Reading) -> list[int]:
    """At least the first `count` tokens of a text, all for None; the notice is on the part they come from."""
    text = read_text(path)
    if count is None:
        tokens = tokenizer.encode(text, parse_special=reading.special)
    else:
        text, tokens = start_of(text, count, tokenizer, reading.special)
    counts = {} if reading.special else count_control_tokens(text, tokenizer)
    if is_worth_a_notice(counts, len(tokens)):
        reading.notice(control_token_notice(str(path), counts))
    return tokens


def read_texts(
    paths: Sequence[Path], tokenizer: Tokenizer, context: int, limit: int | None, reading: Reading
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """The chunks of all texts in order, and the name of each text with its number of chunks.

    `limit` holds for each text. UsageError when a text is named twice, as it would count twice.
    """
    names = [str(path) for path in paths]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise UsageError(f"the text {twice} is given twice")
    parts = [read_chunks(path, tokenizer, context, limit, reading) for path in paths]
    return np.concatenate(parts), tuple(zip(names, map(len, parts), strict=True))

"""JSON objects in files, read without trust."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.file_kind import encoding_of
from quantize_cli.formats.memory_limit import BASE_MEMORY_NBYTES, MEMORY_PER_BYTE
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import read_at_most

MAX_NBYTES = 8 << 20
"""Of a settings file: eight times the largest seen, which lists all added tokens."""
_MOST_NBYTES = 64 << 20
"""Of tokenizer.json, or of an index."""
_VOCABULARY_TIMES = 24
"""`MEMORY_PER_BYTE` of tokenizer.json: half a million merges are a million strings of a few letters."""
_MEMORY_NBYTES = {b"{": 240, b"[": 100, b",": 90, b":": 60}
"""What an object, an array, a value and a key take at most, by the character that marks each."""
_TEXT_TIMES = {True: 2, False: 8}
"""What a text and its strings take as a multiple of its bytes, by whether it is ASCII."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_object(path: Path, unique_keys: bool) -> dict[str, Any]:
    """The JSON object in a file beside a model's weights, as `parse_object` gives it; FormatError for a huge one."""
    is_vocabulary = path.name == "tokenizer.json"
    text = read_at_most(path, _MOST_NBYTES if is_vocabulary or path.name.endswith(".index.json") else MAX_NBYTES)
    times = _VOCABULARY_TIMES if is_vocabulary else MEMORY_PER_BYTE
    return parse_object(str(path), text, unique_keys, BASE_MEMORY_NBYTES + times * len(text))


def parse_object(source: str, text: bytes, unique_keys: bool, memory_nbytes: int) -> dict[str, Any]:
    """The JSON object that UTF-8 `text` spells; FormatError naming `source` when it spells anything else.

    With `unique_keys` an object that repeats a key is refused, as two readers may disagree on which one counts.
    Without it the last one counts, as in the libraries that write checkpoints. A byte order mark of UTF-8 is skipped.
    Text that may take more than `memory_nbytes` of memory is refused unread.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    if encoding := encoding_of(text):
        raise FormatError(f"{source}: {encoding[0]}, not utf-8", hint=encoding[1])

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            name, count = Counter(name for name, _ in pairs).most_common(1)[0]
            raise FormatError(f"{source}: key {quoted(name)} occurs {count} times")
        return entries

    _refuse_more_memory(source, text, memory_nbytes)
    try:
        document = json.loads(text.decode(), object_pairs_hook=refuse_duplicates if unique_keys else None)
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not utf-8 at byte {error.start} of {len(text)}") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"{source}: not json at character {error.pos}: {error.msg.lower()}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and brackets nested thousands deep.
        raise FormatError(f"{source}: not json that can be read: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise FormatError(f"{source}: a json {type(document).__name__}, not an object")
    if _SURROGATE_ESCAPE.search(text):
        _refuse_lone_surrogates(source, document)
    return document


def _refuse_lone_surrogates(source: str, document: dict[str, Any]) -> None:
    """FormatError when a string holds an escaped half of a surrogate pair, which UTF-8 cannot encode."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise FormatError(f"{source}: not text: a string holds {half}, half of a surrogate pair") from error
    except RecursionError as error:
        raise FormatError(f"{source}: not json that can be read: {type(error).__name__}") from error


def _refuse_more_memory(source: str, text: bytes, memory_nbytes: int) -> None:
    """FormatError when the parsed text may take more than `memory_nbytes`: three bytes can take seventy of memory."""
    needed = _TEXT_TIMES[text.isascii()] * len(text)
    needed += sum(nbytes * text.count(character) for character, nbytes in _MEMORY_NBYTES.items())
    if needed > memory_nbytes:
        raise FormatError(
            f"{source}: {len(text)} bytes of json may take {needed} of memory, at most {memory_nbytes} are allowed"
        )

"""JSON lines: each an object that holds a text, or the messages of a conversation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from quantize_cli.errors import InputError
from quantize_cli.formats.quoted import quoted

SUFFIXES = (".jsonl", ".ndjson")
_LONGEST = 1 << 24
"""Bytes of a line; a book has a tenth of that."""
_FORM = 'a line is {"text": "..."}, or {"messages": [{"role": "user", "content": "..."}, ...]}'


@dataclass(frozen=True)
class Record:
    """One line: a text, or messages that each have a `role` and a `content`."""

    origin: str
    """File and line, for messages."""
    text: str | None
    messages: tuple[dict[str, str], ...]


def read_records(path: Path) -> Iterator[Record]:
    """The lines of a file in order, read once; blank ones are passed over.

    InputError naming file and line for what is not such a record.
    """
    try:
        with path.open("rb") as file:
            yield from _records(file, path)
    except OSError as error:
        raise InputError(f"{path}: cannot read the lines: {(error.strerror or 'unknown error').lower()}") from error


def _records(file: BinaryIO, path: Path) -> Iterator[Record]:
    for number in count(1):
        line = file.readline(_LONGEST + 1)
        if not line:
            return
        origin = f"{path}: line {number}"
        if len(line) > _LONGEST:
            raise InputError(f"{origin} is longer than {_LONGEST} bytes", hint="split it, or save it as a text file")
        text = _decoded(line, origin)
        if text.strip():
            yield _record(_parsed(text, origin), origin)


def _decoded(line: bytes, origin: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{origin}: byte {error.start} of {len(line)} is not utf-8", hint="save the file as utf-8"
        ) from error


def _parsed(line: str, origin: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{origin} is not json: {error.msg.lower()} at column {error.colno}", hint=_FORM) from error
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{origin} holds a number that is too long", hint=_FORM) from error
    except RecursionError as error:
        raise InputError(f"{origin} is nested too deeply", hint=_FORM) from error


def _record(value: Any, origin: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{origin} is {_kind(value)}, not an object", hint=_FORM)
    if ("text" in value) == ("messages" in value):
        held = "both 'text' and 'messages'" if "text" in value else "neither 'text' nor 'messages'"
        raise InputError(f"{origin} has {held}", hint=_FORM)
    if "text" in value:
        return Record(origin, _filled(value["text"], f"{origin}: 'text'"), ())
    messages = value["messages"]
    if not isinstance(messages, list):
        raise InputError(f"{origin}: 'messages' is {_kind(messages)}, not a list", hint=_FORM)
    if not messages:
        raise InputError(f"{origin}: 'messages' is empty", hint=_FORM)
    return Record(origin, None, tuple(_message(m, f"{origin}: message {n}") for n, m in enumerate(messages, 1)))


def _message(value: Any, origin: str) -> dict[str, str]:
    """Role and content; other keys are refused, as no template would be shown what they say."""
    if not isinstance(value, dict):
        raise InputError(f"{origin} is {_kind(value)}, not an object", hint=_FORM)
    for key in ("role", "content"):
        if key not in value:
            raise InputError(f"{origin} has no {key!r}", hint=_FORM)
    more = [key for key, held in value.items() if key not in ("role", "content") and held is not None]
    if more:
        raise InputError(f"{origin} has {quoted(more[0])} beside its role and content", hint="leave it out of the file")
    role, content = _filled(value["role"], f"{origin}: 'role'"), value["content"]
    if role == "assistant" or not isinstance(content, str):
        content = _filled(content, f"{origin}: 'content'")
    return {"role": role, "content": content}


def _filled(value: Any, origin: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{origin} is {_kind(value)}, not a string", hint=_FORM)
    if not value:
        raise InputError(f"{origin} is empty", hint="leave the line out")
    return value


def _kind(value: Any) -> str:
    """What JSON calls a value."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")

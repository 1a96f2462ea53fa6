"""JSON piece by piece: a million numbers of an array are never so many strings at once."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

_AT_ONCE = 1 << 12
"""Numbers of an array that are Python's at the same time."""


def spelled(value: Any, newline: str = "\n") -> Iterator[str]:
    """What `json.dumps` spells with an indent of one, in pieces.

    Numpy values are spelled as Python's, and numbers JSON has no word for as text. Any iterable is an array.
    """
    if isinstance(value, dict):
        parts: Iterable[tuple[str, Any]] = ((f"{_plain(str(key))}: ", item) for key, item in value.items())
        yield from _enclosed("{}", parts, newline)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        yield from _enclosed("[]", (("", item) for item in _items(value)), newline)
    else:
        yield _plain(value)


def _enclosed(brackets: str, parts: Iterable[tuple[str, Any]], newline: str) -> Iterator[str]:
    before = brackets[0]
    for key, item in parts:
        yield before + newline + " " + key
        yield from spelled(item, newline + " ")
        before = ","
    yield brackets if before != "," else newline + brackets[1]


def _items(values: Iterable[Any]) -> Iterator[Any]:
    if not hasattr(values, "tolist"):  # numpy's arrays have it; numpy itself is too heavy to import here
        yield from values
        return
    for start in range(0, len(values), _AT_ONCE):
        yield from values[start : start + _AT_ONCE].tolist()


def _plain(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)

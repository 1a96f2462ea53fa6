"""JSON piece by piece, so that a large array never becomes a million strings at once."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 1 << 12
"""Numbers of an array that are converted to Python's at a time."""


def json_pieces(value: object, newline: str = "\n") -> Iterator[str]:
    """What `json.dumps` spells with an indent of one, in pieces.

    Numpy values are spelled as Python's, and numbers JSON has no word for as text. Any iterable is an array.
    """
    if isinstance(value, dict):
        parts: Iterable[tuple[str, object]] = ((f"{_plain(str(key))}: ", item) for key, item in value.items())
        yield from _enclosed("{}", parts, newline)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        yield from _enclosed("[]", (("", item) for item in _items(value)), newline)
    else:
        yield _plain(value)


def _enclosed(brackets: str, parts: Iterable[tuple[str, object]], newline: str) -> Iterator[str]:
    before = brackets[0]
    for key, item in parts:
        yield before + newline + " " + key
        yield from json_pieces(item, newline + " ")
        before = ","
    yield brackets if before != "," else newline + brackets[1]


def _items(values: Iterable[object]) -> Iterator[object]:
    if not hasattr(values, "tolist"):  # numpy's arrays have it; numpy itself is too heavy to import here
        yield from values
        return
    array = cast("np.ndarray", values)
    for start in range(0, len(array), _AT_ONCE):
        yield from array[start : start + _AT_ONCE].tolist()


def _plain(value: object) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)

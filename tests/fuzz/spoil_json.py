"""JSON documents, spoiled where they have values and keys."""

import json
from copy import deepcopy
from random import Random
from typing import Any

from tests.fuzz import spoil_bytes

_DEEP = "\ue000deep"
"""Stands for brackets nested deeper than Python's writer goes."""
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 1 << 31, 1 << 40, 1 << 62, 1 << 63, 1 << 64, 10**400, -(10**30), 0.5,
    -0.0, 1e-320, 1e38, 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "0", "-1", "null", "x" * 300, "\0",
    "\ud800", "\udc00x", "▁", "é\u0301", "<0x0A>", "<s>", "\ufdd0", [], {}, [[]], [None], [0], [""], {"": 0},
    {"type": "x"}, {"content": 5}, {"content": "\ud800", "special": True}, ["\ud800"], [1e400], _DEEP,
)  # fmt: skip


def spoil(data: bytes, random: Random) -> bytes:
    """A document with one to four changes; sometimes one that is no longer JSON."""
    document = json.loads(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        document = _changed(document, random)
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    if _DEEP in text or json.dumps(_DEEP) in text:
        depth = random.choice((10, 200, 900, 5000, 100_000))
        nested = random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
        text = text.replace(json.dumps(_DEEP), nested).replace(f'"{_DEEP}"', nested)
    if random.random() < 0.1:
        text = _said_twice(text, random)
    spoiled = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        spoiled = random.choice((b"\xef\xbb\xbf" + spoiled, text.encode("utf-16", "surrogatepass"), spoiled + b"x"))
    return spoil_bytes.spoil(spoiled, random) if random.random() < 0.05 else spoiled


def _changed(document: Any, random: Random) -> Any:
    """The document with one value, key or list changed; each level is left with one chance in three."""
    if isinstance(document, (dict, list)) and document and random.random() < 0.75:
        keys = list(document) if isinstance(document, dict) else range(len(document))
        key = random.choice(keys)
        if random.random() < 0.5:
            document[key] = _changed(document[key], random)
        else:
            _rearrange(document, key, random)
        return document
    return _replaced(document, random)


def _rearrange(document: Any, key: Any, random: Random) -> None:
    """Something about the member `key` itself: gone, another's, many times, under another name."""
    action = random.randrange(4)
    if action == 0:
        del document[key]
    elif action == 1:
        document[key] = _replaced(document[key], random)
    elif isinstance(document, list):
        document[key:key] = [deepcopy(document[key]) for _ in range(random.choice((1, 1, 50)))]
    elif action == 2:
        document[random.choice(("", "\ud800", "x", key + "x", key.upper(), "<s>"))] = document.pop(key)
    else:
        document[key] = deepcopy(document[random.choice(list(document))])


def _replaced(value: Any, random: Random) -> Any:
    action = random.randrange(6)
    if action == 0:
        return [value]
    if action == 1:
        return {"a": value}
    if action == 2 and isinstance(value, str):
        at = random.randrange(len(value) + 1)
        return value[:at] + random.choice(("\ud800", "\0", "x" * 200, " ", "▁", "\ufdd0", "(", "{", "\\")) + value[at:]
    if action == 3 and isinstance(value, (int, float)):
        return random.choice((str(value), -value, value + 1, float(value) if abs(value) < 1 << 60 else 0.5))
    return deepcopy(random.choice(_ODD))


def _said_twice(text: str, random: Random) -> str:
    """Some part of the text between two commas again."""
    parts = text.split(",")
    at = random.randrange(len(parts))
    return ",".join([*parts[: at + 1], *parts[at:]])

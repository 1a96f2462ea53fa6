"""Protobufs, spoiled by their fields, whatever these mean."""

import struct
from random import Random

from tests.fuzz import spoil_bytes

_WHOLE, _EIGHT, _NESTED, _FOUR = 0, 1, 2, 5
_ODD_WHOLE = (0, 1, 2, 3, 4, 5, 6, 7, 1 << 31, (1 << 64) - 1)
_ODD_REAL = (0.0, -1.0, 3e38, float("nan"), float("inf"), float("-inf"))
_ODD_TEXT = (b"", b"\xe2", b"\0", b"x" * 300, b"<0x0A>", b"<0xZZ>", b"\xed\xa0\x80", "▁".encode(), b"<s>", b"<unk>")


def spoil(data: bytes, random: Random) -> bytes:
    if random.random() < 0.15:
        return spoil_bytes.spoil(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        data = _changed(data, random)
    return data


def _changed(data: bytes, random: Random) -> bytes:
    """A message with one field gone, said again, or of another content; a nested message changed inside."""
    fields = _fields(data)
    if not fields:
        return spoil_bytes.spoil(data, random)
    at = random.randrange(len(fields))
    number, wire, content = fields[at]
    action = random.randrange(8)
    if action == 0:
        fields[at : at + 1] = []
    elif action == 1:
        fields[at : at + 1] = [fields[at]] * random.choice((2, 50))
    elif action == 2:
        fields[at] = random.choice((number, 1, 2, 3, 15)), wire, content
    else:
        fields[at] = number, wire, _other(wire, content, random)
    return b"".join(_spelled(*field) for field in fields)


def _other(wire: int, content: bytes, random: Random) -> bytes:
    if wire == _WHOLE:
        return _varint(random.choice(_ODD_WHOLE))
    if wire == _FOUR:
        return struct.pack("<f", random.choice(_ODD_REAL))
    if wire == _EIGHT:
        return spoil_bytes.spoil(content, random)
    return _changed(content, random) if random.random() < 0.6 and _fields(content) else random.choice(_ODD_TEXT)


def _fields(data: bytes) -> list[tuple[int, int, bytes]]:
    """(number, wire type, content) of each field; [] for what is no message."""
    found, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == _WHOLE:
            _, at = _read_varint(data, at)
        elif wire == _NESTED:
            size, begin = _read_varint(data, at)
            at = begin + size
        elif wire in (_FOUR, _EIGHT):
            at += 4 if wire == _FOUR else 8
        else:
            return []
        if at > len(data) or not number:
            return []
        found.append((number, wire, data[begin:at]))
    return found


def _spelled(number: int, wire: int, content: bytes) -> bytes:
    return _varint(number << 3 | wire) + (_varint(len(content)) if wire == _NESTED else b"") + content


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 128:
            break
    return number, at

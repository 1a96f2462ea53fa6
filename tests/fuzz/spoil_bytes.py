"""Bytes of any kind, spoiled."""

import struct
from random import Random

_ODD = (
    b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\x80", struct.pack("<Q", 1 << 62), struct.pack("<Q", 1 << 63),
    struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), struct.pack("<f", 3e38), b"\xed\xa0\x80", b"\xe2",
)  # fmt: skip


def spoil(data: bytes, random: Random) -> bytes:
    """The same bytes with one to four changes."""
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(_CHANGES)(data, random)
    return data


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\x01"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _overwrite(data: bytes, random: Random) -> bytes:
    odd, at = random.choice(_ODD), random.randrange(len(data) + 1)
    return data[:at] + odd + data[at + len(odd) :]


def _insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(_ODD) + data[at:]


def _drop(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 4, 8, 64)) :]


def _repeat(data: bytes, random: Random) -> bytes:
    at, size = random.randrange(len(data) + 1), random.choice((1, 8, 100))
    return data[:at] + data[at : at + size] * random.choice((2, 10)) + data[at + size :]


_CHANGES = (_flip, _flip, _cut, _overwrite, _insert, _drop, _repeat)

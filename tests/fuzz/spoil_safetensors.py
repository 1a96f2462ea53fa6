"""Safetensors files, spoiled in their header and in their bytes."""

from random import Random

from tests.fuzz import spoil_bytes, spoil_json


def spoil(data: bytes, random: Random) -> bytes:
    if random.random() < 0.15:
        return spoil_bytes.spoil(data, random)
    length = int.from_bytes(data[:8], "little")
    header = spoil_json.spoil(data[8 : 8 + length], random)
    stated = len(header) if random.random() < 0.95 else random.choice((0, 1 << 31, 1 << 62, len(header) + 1))
    body = data[8 + length :]
    return stated.to_bytes(8, "little") + header + (body if random.random() < 0.9 else spoil_bytes.spoil(body, random))

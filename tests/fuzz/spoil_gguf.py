"""GGUF files, spoiled by their metadata and their table of contents."""

import struct
from dataclasses import dataclass, field
from random import Random

from tests.formats import build
from tests.fuzz import spoil_bytes

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_LETTERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_ODD_WHOLE = (0, 1, 2, 3, 5, 7, 80, 127, 1 << 15, 1 << 29, 1 << 31, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1, -1, -7)
_ODD_REAL = (0.0, -1.0, 0.5, 1.0, 1e-40, 1e-9, 1e20, 3e38, float("nan"), float("inf"), float("-inf"), 1e308)
_ODD_TEXT = (b"", b"\0", b"\xe2", b"x" * 300, b"none", b"yarn", b"longrope", b"llama", b"gpt2", b"<0x0A>", "▁".encode())
_SETTINGS = (
    "block_count", "embedding_length", "feed_forward_length", "context_length", "vocab_size", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.causal", "attention.scale",
    "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.sliding_window", "logit_scale",
    "attention.sliding_window_pattern", "attention.max_alibi_bias", "rope.dimension_count", "rope.freq_base",
    "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scale_linear",
    "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast", "attn_logit_softcapping", "expert_count",
    "final_logit_softcapping", "expert_used_count", "expert_feed_forward_length", "expert_gating_func",
    "expert_shared_feed_forward_length", "expert_weights_scale", "nextn_predict_layers", "attention.key_length_swa",
)  # fmt: skip
_KEYS = (
    "general.alignment", "general.architecture", "general.type", "general.file_type", "split.no", "split.count",
    "split.tensors.count", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "quantize.version",
    "tokenizer.ggml.token_type", "tokenizer.ggml.scores", "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.add_bos_token", "quantize.recipe",
    "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix", "tokenizer.chat_template", "imatrix.datasets",
    "imatrix.chunk_count", "imatrix.chunk_size", "quantize.evaluation.kld_mean", "quantize.source.sha256",
)  # fmt: skip


@dataclass
class _Parts:
    """A file taken apart; values as (key, type, stored bytes), tensors as (name, dimensions, type, offset)."""

    values: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    tensors: list[tuple[bytes, list[int], int, int]] = field(default_factory=list)
    data: bytes = b""

    def spelled(self, counts: tuple[int, int] | None, version: int) -> bytes:
        values = [build.value(*value) for value in self.values]
        tensors = [build.tensor(name, dims, offset, type_) for name, dims, type_, offset in self.tensors]
        return build.gguf_bytes(values, tensors, self.data, counts=counts, version=version)


def spoil(data: bytes, random: Random) -> bytes:
    if random.random() < 0.1:
        return spoil_bytes.spoil(data, random)
    parts = _taken_apart(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        if parts.tensors and random.random() < 0.25:
            _change_tensor(parts, random)
        else:
            _change_value(parts, random)
    counts = None
    if random.random() < 0.02:
        counts = random.choice((0, 1 << 20, 1 << 62)), random.choice((len(parts.values), 1 << 20, 1 << 63))
    if random.random() < 0.05:
        parts.data = spoil_bytes.spoil(parts.data, random)
    return parts.spelled(counts, random.choice((3, 3, 3, 2)))


def _change_value(parts: _Parts, random: Random) -> None:
    """One key gone, twice, under another name, new, or with another value."""
    at = random.randrange(max(1, len(parts.values)))
    action = random.randrange(10)
    if action == 0 or not parts.values:
        parts.values.append((random.choice(_KEYS).encode(), *_value(random)))
    elif action == 1:
        prefix = random.choice([key.split(b".")[0] for key, _, _ in parts.values])
        parts.values.append((prefix + b"." + random.choice(_SETTINGS).encode(), *_value(random)))
    elif action == 2:
        del parts.values[at]
    elif action == 3:
        parts.values.append(parts.values[random.randrange(len(parts.values))])
    else:
        key, type_, stored = parts.values[at]
        if action == 4:
            key = random.choice((*(k.encode() for k in _KEYS), b"", b"\xff", key + b"x"))
        elif action == 5 and type_ != build.ARRAY:
            count = random.choice((0, 1, 2, 5))
            type_, stored = build.ARRAY, struct.pack("<IQ", type_, count) + stored * count
        elif action < 8 and type_ == build.ARRAY:
            stored = _other_array(stored, random)
        else:
            type_, stored = _value(random, type_ if random.random() < 0.6 else None)
        parts.values[at] = key, type_, stored


def _value(random: Random, type_: int | None = None) -> tuple[int, bytes]:
    """A type, the same if it is given, and an odd value of it."""
    if type_ is None:
        type_ = random.choice((*_LETTERS, build.STRING, build.STRING, build.ARRAY, build.ARRAY))
    if type_ == build.ARRAY:
        element = random.choice((*_LETTERS, build.STRING, build.ARRAY))
        count = random.choice((0, 1, 2, 50))
        stated = count if random.random() < 0.9 else random.choice((count + 1, 1 << 30, 1 << 62))
        return type_, struct.pack("<IQ", element, stated) + b"".join(_scalar(element, random) for _ in range(count))
    return type_, _scalar(type_, random)


def _scalar(type_: int, random: Random) -> bytes:
    if type_ == build.STRING:
        return build.string(random.choice(_ODD_TEXT))
    if type_ not in _LETTERS:
        return b"\0" * 12
    letter, nbytes = _LETTERS[type_], _SIZES[type_]
    if letter in "fd":
        real = random.choice(_ODD_REAL)
        return struct.pack("<" + letter, real if letter == "d" or not 3.5e38 < abs(real) < float("inf") else 3e38)
    if type_ == build.BOOL:
        return random.choice((b"\0", b"\1", b"\1", b"\2"))
    return (random.choice(_ODD_WHOLE) % (1 << 8 * nbytes)).to_bytes(nbytes, "little")


def _other_array(stored: bytes, random: Random) -> bytes:
    """An array with an item other, one less or more, or all of another type."""
    element, items = struct.unpack_from("<I", stored)[0], _array_items(stored)
    action = random.randrange(4)
    if action == 0 or not items:
        element = random.choice((*_LETTERS, build.STRING))
        items = [_scalar(element, random) for _ in range(len(items))]
    elif action == 1:
        items[random.randrange(len(items))] = _scalar(element, random)
    elif action == 2:
        del items[random.randrange(len(items)) :]
    else:
        items += [random.choice(items)] * random.choice((1, 300))
    return struct.pack("<IQ", element, len(items)) + b"".join(items)


def _array_items(stored: bytes) -> list[bytes]:
    """Those that are there, however many an earlier change says there are."""
    element, at = struct.unpack_from("<I", stored)[0], 12
    items = []
    while element in (*_SIZES, build.STRING) and at < len(stored):
        size = 8 + struct.unpack_from("<Q", stored, at)[0] if element == build.STRING else _SIZES[element]
        items.append(stored[at : at + size])
        at += size
    return items


def _change_tensor(parts: _Parts, random: Random) -> None:
    at = random.randrange(len(parts.tensors))
    name, dimensions, type_, offset = parts.tensors[at]
    action = random.randrange(6)
    if action == 0:
        del parts.tensors[at]
    elif action == 1:
        parts.tensors.append(parts.tensors[at])
    elif action == 2:
        name = random.choice(
            (b"", b"x" * 70, b"\xff", b"\0", b"blk.99999999.attn_q.weight", b"output.weight", name * 2)
        )
    elif action == 3:
        dimensions = [random.choice((n, 0, 1, 2, 1 << 40, 1 << 62, 1 << 63)) for n in dimensions]
        dimensions = random.choice((dimensions, dimensions[:-1], [*dimensions, 1], dimensions[::-1]))
    elif action == 4:
        type_ = random.choice((0, 1, 2, 8, 12, 14, 24, 26, 27, 28, 30, 99, 1 << 31))
    else:
        offset = random.choice((0, 1, 32, 1 << 20, 1 << 62, 1 << 63))
    if action >= 2:
        parts.tensors[at] = name, dimensions, type_, offset


def _taken_apart(data: bytes) -> _Parts:
    """A valid file."""
    _, tensor_count, value_count = struct.unpack_from("<IQQ", data, 4)
    parts, at = _Parts(), 24

    def text() -> bytes:
        nonlocal at
        size = struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return data[at - size : at]

    for _ in range(value_count):
        key, begin = text(), at + 4
        type_ = struct.unpack_from("<I", data, at)[0]
        at = begin + _stored_size(type_, data, begin)
        parts.values.append((key, type_, data[begin:at]))
    for _ in range(tensor_count):
        name, count = text(), struct.unpack_from("<I", data, at)[0]
        *dimensions, type_, offset = struct.unpack_from(f"<{count}QIQ", data, at + 4)
        at += 4 + 8 * count + 12
        parts.tensors.append((name, list(dimensions), type_, offset))
    parts.data = data[-(-at // 32) * 32 :]
    return parts


def _stored_size(type_: int, data: bytes, at: int) -> int:
    if type_ == build.STRING:
        return int(8 + struct.unpack_from("<Q", data, at)[0])
    if type_ != build.ARRAY:
        return _SIZES[type_]
    element, count = struct.unpack_from("<IQ", data, at)
    size = 12
    for _ in range(count):
        size += _stored_size(element, data, at + size)
    return size

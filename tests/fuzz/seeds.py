"""The valid files that are spoiled, as bytes: small checkpoints, models, matrices and references of every kind."""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from quantize_cli.adapters.gguf import write_gguf_adapter
from quantize_cli.adapters.peft import write_peft
from quantize_cli.certificate.statement import Certificate
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value, text
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.formats.imatrix import Entry, ImportanceFile, imatrix_bytes
from quantize_cli.formats.reference import ReferenceHeader, encode_chunk, encode_header
from quantize_cli.model.source import open_model
from quantize_cli.quants import encode
from tests import checkpoints
from tests.adapters.adapters import adapter_for
from tests.fuzz import spoil_bytes, spoil_gguf, spoil_json, spoil_protobuf, spoil_safetensors, spoil_text
from tests.runtime import synthetic

Spoil = Callable[[bytes, Random], bytes]
GGUF, ADAPTER = "model.gguf", "adapter.gguf"
_SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
_SMALL_GPT2 = {"n_embd": 16, "n_head": 2}
_TOKENIZERS = (
    ("llama", "sentencepiece"), ("llama", "byte-fallback"), ("llama", "llama-bpe"), ("qwen2", "qwen2"),
    ("gpt2", "gpt-2"), ("llama", "smollm"), ("mistral", "tekken"),
)  # fmt: skip
_ROPES: tuple[dict[str, Any], ...] = (
    {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
    {
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
)  # fmt: skip
_CARD = """---
license: mit
language:
- en
- no
pipeline_tag: text-generation
tags: [llama, stories]
datasets:
- roneneldan/TinyStories
base_model: some-one/Some-Model-7B-v0.1
model-index: {name: x, results: []}
---

# A model
"""
_GENERATION = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": [1, 2], "repetition_penalty": 1.1}
_SPECIALS = {
    "bos_token": {"content": "<s>", "lstrip": False},
    "additional_special_tokens": ["<x>"],
    "eos_token": "</s>",
}
_RECIPE = """# A recipe
file_type = "Q4_K_M"
default = "q4_k"
rule = [
  { tensors = "output", type = "q6_k" },
  { tensors = "attention_value", layers = "ends_and_thirds", type = "q6_k" },
  { tensors = "ffn_down", experts_at_least = 4, type = "q5_k" },
  { tensors = "embedding", fills_blocks = false, type = "q8_0" },
]
"""
_TEMPLATE = """{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% else %}{{ raise_exception('no ' + m['role']) }}{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ bos_token }}{% endif %}
"""


@dataclass(frozen=True)
class Seed:
    """A folder of files, one of which is to be spoiled."""

    files: Mapping[str, bytes]
    target: str
    spoil: Spoil


def _folder(write: Callable[[Path], object]) -> dict[str, bytes]:
    """The files that `write` puts into a folder."""
    with TemporaryDirectory() as made:
        write(Path(made) / "model")
        return {path.name: path.read_bytes() for path in sorted((Path(made) / "model").iterdir())}


@cache
def _checkpoint(family: str, tokenizer: str | None = None, more: str = "{}") -> Mapping[str, bytes]:
    config = {**(_SMALL_GPT2 if family == "gpt2" else _SMALL), **({"head_dim": 8} if family == "qwen3" else {})}
    return _folder(
        lambda folder: checkpoints.build(family, folder, tokenizer=tokenizer, config={**config, **json.loads(more)})
    )


def _targeting(files: Mapping[str, bytes], names: Iterable[str], spoil: Spoil) -> list[Seed]:
    return [Seed(files, name, spoil) for name in names if name in files]


def safetensors() -> list[Seed]:
    return _targeting(_checkpoint("llama"), ["model.safetensors"], spoil_safetensors.spoil)


def shards() -> list[Seed]:
    """A checkpoint in two files, with an index."""
    files = dict(_checkpoint("llama"))
    stored = files.pop("model.safetensors")
    length = int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8 : 8 + length])
    weight_map = {}
    for number, names in enumerate((list(header)[::2], list(header)[1::2]), 1):
        shard, part, body = f"model-{number:05d}-of-00002.safetensors", {}, b""
        for name in names:
            first, last = header[name]["data_offsets"]
            part[name] = {**header[name], "data_offsets": [len(body), len(body) + last - first]}
            body += stored[8 + length + first : 8 + length + last]
            weight_map[name] = shard
        spelled = json.dumps(part).encode()
        files[shard] = len(spelled).to_bytes(8, "little") + spelled + body
    index = "model.safetensors.index.json"
    files[index] = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}).encode()
    return [Seed(files, index, spoil_json.spoil), Seed(files, shard, spoil_safetensors.spoil)]


def configs() -> list[Seed]:
    """Of every family, and of every way to stretch a context."""
    plain = [_checkpoint(family) for family in checkpoints.FAMILIES]
    stretched = [_checkpoint("llama", None, json.dumps(rope)) for rope in _ROPES]
    return [Seed(files, "config.json", spoil_json.spoil) for files in (*plain, *stretched)]


def tokenizer_documents() -> list[Seed]:
    return [
        seed
        for family, kind in _TOKENIZERS
        for seed in _targeting(_checkpoint(family, kind), ["tokenizer.json"], spoil_json.spoil)
    ]


def sentencepieces() -> list[Seed]:
    return _targeting(_checkpoint("llama"), ["tokenizer.model"], spoil_protobuf.spoil)


def side_files() -> list[Seed]:
    """What stands beside a tokenizer, for one of each kind."""
    said = {
        "generation_config.json": json.dumps(_GENERATION).encode(),
        "special_tokens_map.json": json.dumps(_SPECIALS).encode(),
        "added_tokens.json": json.dumps({"<x>": 1024, "<y>": 1025}).encode(),
    }
    decoder = {"0": {"content": "<x>", "special": True}, "300": {"content": "<y>", "normalized": False}}
    found = []
    for family, kind in _TOKENIZERS[:4]:
        room = json.dumps({"vocab_size": 1030 if kind == "sentencepiece" else 430})
        files = {**_checkpoint(family, kind, room), **said}
        config = json.loads(files["tokenizer_config.json"])
        stated = {**config, "chat_template": checkpoints.CHAT, "additional_special_tokens": ["<x>"]}
        found += _targeting(files, said, spoil_json.spoil)
        for document in (stated, {**stated, "added_tokens_decoder": decoder}):
            whole = {**files, "tokenizer_config.json": json.dumps(document).encode()}
            found.append(Seed(whole, "tokenizer_config.json", spoil_json.spoil))
    return found


def cards() -> list[Seed]:
    return [Seed({**_checkpoint("llama"), "README.md": _CARD.encode()}, "README.md", spoil_text.spoil)]


def containers() -> list[Seed]:
    """GGUF files: one of each tokenizer, one without, one with a certificate."""
    digest = "0" * 64
    certificate = Certificate("1.0", "q4_k_m", "plain", digest, digest).metadata()
    return [*vocabularies(), *decoders()[:1], Seed({GGUF: _with(certificate)}, GGUF, spoil_gguf.spoil)]


def _with(more: Mapping[str, Value]) -> bytes:
    made = lay_out({"general.architecture": text("llama"), **more}, [])
    return made.header


@cache
def _converted(family: str, kind: str) -> bytes:
    """A checkpoint as a GGUF file of float32."""
    with TemporaryDirectory() as made:
        for name, stored in _checkpoint(family, kind).items():
            (Path(made) / name).write_bytes(stored)
        model = open_model(Path(made))
        layout = lay_out(model.metadata, [TensorInfo(t.name, t.shape, t.type) for t in model.tensors])
        content = bytearray(layout.header.ljust(layout.nbytes, b"\0"))
        for offset, tensor in zip(layout.offsets, model.tensors, strict=True):
            stored = np.ascontiguousarray(tensor.read(0, tensor.row_count)).tobytes()
            content[offset : offset + len(stored)] = stored
        return bytes(content)


def adapters() -> list[Seed]:
    """Of both kinds, each beside its model."""
    files = {GGUF: _converted("llama", "sentencepiece")}
    with TemporaryDirectory() as made:
        folder = Path(made)
        (folder / GGUF).write_bytes(files[GGUF])
        model = open_model(folder / GGUF)
        write_peft(folder, adapter_for(model, rank=2), model)
        write_gguf_adapter(folder / ADAPTER, adapter_for(model, rank=2))
        files |= {path.name: path.read_bytes() for path in folder.iterdir()}
    spoils = {
        "adapter_config.json": spoil_json.spoil, "adapter_model.safetensors": spoil_safetensors.spoil,
        ADAPTER: spoil_gguf.spoil,
    }  # fmt: skip
    return [Seed(files, name, spoil) for name, spoil in spoils.items()]


def vocabularies() -> list[Seed]:
    return [Seed({GGUF: _converted(family, kind)}, GGUF, spoil_gguf.spoil) for family, kind in _TOKENIZERS]


@cache
def _decoder(architecture: str, experts: int = 0) -> bytes:
    decoder = synthetic.Decoder(architecture, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=24)
    if architecture == "gpt2":
        decoder = replace(decoder, key_value_heads=2)
    if architecture.startswith("gemma"):
        decoder = replace(decoder, metadata={"attention.sliding_window": 8})
    if architecture.endswith("moe"):
        decoder = replace(decoder, metadata={"expert_feed_forward_length": 8})
    decoder = replace(decoder, experts=experts, expert_feed_forward=8, rotary_divisors=architecture == "llama")
    with TemporaryDirectory() as made:
        path = synthetic.write(Path(made) / GGUF, decoder, synthetic.weights(decoder))
        return path.read_bytes()


@cache
def _typed(type_: GgmlType) -> bytes:
    """A decoder whose matrices are of another type; also so that its kernels are there before they are timed."""
    decoder = synthetic.Decoder("llama", width=32, heads=2, key_value_heads=1, head_width=16, feed_forward=32)
    stored = {
        name: (encode(type_, values), type_, values.shape) if values.ndim > 1 else (values, GgmlType.F32, values.shape)
        for name, values in synthetic.weights(decoder).items()
    }
    infos = [TensorInfo(name, shape, type_) for name, (_, type_, shape) in stored.items()]
    layout = lay_out(synthetic.metadata(decoder), infos)
    content = bytearray(layout.header.ljust(layout.nbytes, b"\0"))
    for offset, (values, _, _) in zip(layout.offsets, stored.values(), strict=True):
        content[offset : offset + values.nbytes] = values.tobytes()
    return bytes(content)


def decoders() -> list[Seed]:
    """A file of every architecture that the runtime knows, and of some types."""
    plain = ("llama", "gpt2", "qwen2", "qwen3", "gemma2", "gemma3", "phi3")
    made = [_decoder(name) for name in plain] + [_decoder(name, 4) for name in ("llama", "qwen2moe", "qwen3moe")]
    made += [_typed(type_) for type_ in (GgmlType.F16, GgmlType.BF16, GgmlType.Q8_0, GgmlType.Q4_0)]
    return [Seed({GGUF: content}, GGUF, spoil_gguf.spoil) for content in made]


def matrices() -> list[Seed]:
    """Importance matrices of both formats."""
    ones = np.ones((2, 8), np.float64)
    entry = Entry(ones, np.array([3.0, 4.0]), ones)
    new = imatrix_bytes(ImportanceFile({"blk.0.ffn_up.weight": entry, "output.weight": entry}, ("a.txt",), 3, 512))
    name = b"blk.0.ffn_up.weight"
    old = struct.pack(f"<ii{len(name)}sii8f", 1, len(name), name, 4, 8, *([1.5] * 8)) + struct.pack("<ii1s", 4, 1, b"a")
    return [
        Seed({"imatrix.gguf": new}, "imatrix.gguf", spoil_gguf.spoil),
        Seed({"imatrix.dat": old}, "imatrix.dat", spoil_bytes.spoil),
    ]


def _spoil_reference(data: bytes, random: Random) -> bytes:
    """A saved reference whose checksums are right again more often than not."""
    return repaired(spoil_bytes.spoil(data, random)) if random.random() < 0.8 else spoil_bytes.spoil(data, random)


def repaired(data: bytes) -> bytes:
    """The same with the checksums that follow from where the parts of the seed lie."""
    header, chunk = _reference_parts()
    if len(data) < header:
        return data
    body = data[: header - 32] + hashlib.sha256(data[: header - 32]).digest()
    for at in range(header, len(data), chunk):
        rows = data[at + 4 : at + chunk]
        body += struct.pack("<I", zlib.crc32(rows)) + rows
    return body


_VOCABULARY, _CONTEXT, _CHUNKS = 70, 9, 2


@cache
def _reference() -> tuple[bytes, tuple[bytes, ...]]:
    random = np.random.default_rng(0)
    tokens = random.integers(0, _VOCABULARY, (_CHUNKS, _CONTEXT), dtype=np.int32)
    header = encode_header(ReferenceHeader("m", _VOCABULARY, b"v" * 32, (("a.txt", 1), ("b.txt", 1)), tokens))
    logits = random.normal(0, 4, (_CHUNKS, 4, _VOCABULARY)).astype(np.float32)
    return header, tuple(encode_chunk(rows, came[5:]) for rows, came in zip(logits, tokens, strict=True))


def _reference_parts() -> tuple[int, int]:
    header, chunks = _reference()
    return len(header), len(chunks[0])


def references() -> list[Seed]:
    header, chunks = _reference()
    return [Seed({"a.ref": header + b"".join(chunks)}, "a.ref", _spoil_reference)]


def llama_logits() -> list[Seed]:
    row = struct.pack("<ff", 1e-4, -7.0) + np.arange(6, dtype="<u2").tobytes()
    content = struct.pack("<8sIii", b"_logits_", 5, 6, 1) + struct.pack("<5i", *range(5)) + row * 2
    return [Seed({"a.logits": content}, "a.logits", spoil_bytes.spoil)]


def recipes() -> list[Seed]:
    return [Seed({"a.toml": _RECIPE.encode()}, "a.toml", spoil_text.spoil)]


def templates() -> list[Seed]:
    return [Seed({"a.jinja": _TEMPLATE.encode()}, "a.jinja", spoil_text.spoil)]

"""Unigram, the tokenizer of XLM-RoBERTa and T5: the likeliest pieces, each with the logarithm of how likely it is."""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, flag, text
from quantize_cli.tokenizers.vocabulary.added_tokens import (
    backend_encode,
    backend_with_added_tokens,
    renumbered_warnings,
)
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer, model_of, model_type
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry, embedding_tokens
from quantize_cli.tokenizers.vocabulary.end_tokens import DEFAULT_EOS
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, vocabulary
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer, build
from quantize_cli.tokenizers.vocabulary.unigram_pieces import word_encoder

_MODEL = "t5"
_MAP = "tokenizer.ggml.precompiled_charsmap"
_DEFAULTS = {"bos_id": None, "eos_id": DEFAULT_EOS[_MODEL], "add_bos_token": False, "add_space_prefix": False}


def from_checkpoint(checkpoint: Checkpoint, config: Mapping[str, Any]) -> CheckpointTokenizer | None:
    """From tokenizer.json; None when there is none, or it holds another kind. FormatError when it is invalid."""
    document = checkpoint.json("tokenizer.json")
    model = model_of(document)
    if document is None or not model or model_type(model) != "Unigram":
        return None
    source = f"{checkpoint.directory}/tokenizer.json"
    tokenizer = backend_with_added_tokens(checkpoint)
    entries = {token: TokenEntry(str(name), float(score), NORMAL) for token, (name, score) in enumerate(model["vocab"])}
    for token, added in tokenizer.get_added_tokens_decoder().items():
        score = entries[token].score if token in entries else 0.0
        entries[token] = TokenEntry(added.content, score, CONTROL if added.special else USER_DEFINED)
    unknown = model.get("unk_id")
    if unknown in entries:
        entries[unknown] = entries[unknown]._replace(type=UNKNOWN)
    pieces, special, warnings = embedding_tokens(checkpoint, entries, config["vocab_size"], _MODEL, source)
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [piece.score for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        "tokenizer.ggml.add_space_prefix": flag(True),
        "tokenizer.ggml.remove_extra_whitespaces": flag(_merges_spaces(document)),
        **_character_map(document, source),
        **special,
    }
    renumbered = renumbered_warnings(document, tokenizer, source)
    return CheckpointTokenizer(metadata, source, backend_encode(tokenizer), (*renumbered, *warnings))


def _merges_spaces(document: Mapping[str, Any]) -> bool:
    """Whether words are cut at spaces, however many.

    Without a sentencepiece.bpe.model llama.cpp's converter believes a key about decoded text instead.
    """
    cutter = document.get("pre_tokenizer")
    parts = cutter.get("pretokenizers", [cutter]) if isinstance(cutter, dict) else []
    return any(isinstance(part, dict) and part.get("type") == "WhitespaceSplit" for part in parts)


def _character_map(document: Mapping[str, Any], source: str) -> dict[str, Value]:
    """How the normalizer replaces characters, if it does."""
    normalizer = document.get("normalizer")
    parts = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    for part in parts if isinstance(parts, list) else []:
        stored = part.get("precompiled_charsmap") if isinstance(part, dict) else None
        if isinstance(stored, str) and stored:
            try:
                return {_MAP: array(ValueType.UINT8, list(b64decode(stored, validate=True)))}
            except binascii.Error as error:
                raise InputError(f"{source}: 'precompiled_charsmap' is not base64: {error}") from error
    return {}


def from_gguf(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer that a GGUF file of this kind describes; InputError when its arrays do not match."""
    vocab, stored = vocabulary(metadata), metadata.get(_MAP)
    if stored is not None and stored.element not in (ValueType.INT8, ValueType.UINT8):
        raise InputError(f"'{_MAP}' is no array of bytes")
    character_map = b"" if stored is None else np.asarray(stored.data).astype(np.uint8).tobytes()
    adds_space = vocab.flag("add_space_prefix", False)
    encode = word_encoder(vocab, character_map, adds_space, vocab.flag("remove_extra_whitespaces", False))
    return build(vocab, lambda piece: piece.replace("▁", " ").encode(), encode, _DEFAULTS)

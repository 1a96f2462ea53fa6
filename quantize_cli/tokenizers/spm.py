"""SentencePiece: pieces with scores over raw text, spaces spelled "▁", and bytes for what no piece spells."""

from collections.abc import Mapping
from typing import Any

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, ValueType, array, text
from quantize_cli.tokenizers._ends import ENGINE_EOS
from quantize_cli.tokenizers._pieces import stored_pieces
from quantize_cli.tokenizers._special import special_metadata
from quantize_cli.tokenizers._tokenizer import Tokenizer, build, vocabulary
from quantize_cli.tokenizers._unigrams import word_encoder

_MODEL = "llama"
_DEFAULTS = {"bos_id": 1, "eos_id": ENGINE_EOS[_MODEL], "add_bos_token": True, "add_space_prefix": True}


def metadata(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Value] | None:
    """The `tokenizer.*` keys from tokenizer.model, or from a tokenizer.json with byte fallback; None without either.

    FormatError or InputError when a file is not what it promises.
    """
    pieces = stored_pieces(checkpoint, config)
    if pieces is None:
        return None
    return {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [piece.score for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        **special_metadata(checkpoint, [piece.text for piece in pieces], _MODEL),
    }


def encoder(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer a GGUF file of this kind describes; InputError when its arrays do not match."""
    words = vocabulary(metadata)
    return build(words, lambda piece: piece.replace("▁", " ").encode(), word_encoder(words), _DEFAULTS)

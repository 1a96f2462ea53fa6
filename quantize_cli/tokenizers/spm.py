"""SentencePiece: pieces with scores, "▁" for a space, and byte tokens for text without a piece."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, flag, text
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry, embedding_tokens
from quantize_cli.tokenizers.vocabulary.end_tokens import DEFAULT_EOS
from quantize_cli.tokenizers.vocabulary.gguf_keys import NORMAL, vocabulary
from quantize_cli.tokenizers.vocabulary.merge_scores import UNREACHED_SCORE
from quantize_cli.tokenizers.vocabulary.sentencepiece_bpe import word_encoder
from quantize_cli.tokenizers.vocabulary.sentencepiece_vocabulary import read_vocabulary
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer, build

_MODEL = "llama"
_DEFAULTS = {"bos_id": 1, "eos_id": DEFAULT_EOS[_MODEL], "add_bos_token": True, "add_space_prefix": True}
_TRIED = 16
_SPACE = "tokenizer.ggml.add_space_prefix"


def from_checkpoint(checkpoint: Checkpoint, config: Mapping[str, Any]) -> CheckpointTokenizer | None:
    """From tokenizer.model, or from a tokenizer.json with byte fallback; None without either.

    FormatError or InputError when a file is invalid.
    """
    vocab = read_vocabulary(checkpoint)
    if vocab is None:
        return None
    pieces, special, warnings = embedding_tokens(checkpoint, vocab.by_id, config["vocab_size"], _MODEL, vocab.source)
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [piece.score for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        **special,
    }
    # No merge makes these, but llama.cpp may.
    unreached = (piece for piece in pieces if piece[1:] == (UNREACHED_SCORE, NORMAL))
    # Left out where it is llama.cpp's default.
    space = {} if vocab.adds_space else {_SPACE: flag(False)}
    overrides = {_SPACE: flag(vocab.adds_space)} if vocab.overrides_others else {}
    return CheckpointTokenizer(
        {**metadata, **space},
        vocab.source,
        vocab.encode,
        (*vocab.warnings, *warnings, *_missing_bytes(pieces, vocab.source)),
        overrides,
        texts=tuple(piece.text.replace("▁", " ") for piece in islice(unreached, _TRIED)),
    )


def _missing_bytes(pieces: Iterable[TokenEntry], source: str) -> list[str]:
    texts = {piece.text for piece in pieces}
    missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in texts and chr(byte) not in texts]
    if not missing:
        return []
    return [f"{source}: no tokens for {len(missing)} of 256 bytes: llama.cpp stops at a text that needs one of them"]


def from_gguf(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer that a GGUF file of this kind describes; InputError when its arrays do not match."""
    vocab = vocabulary(metadata)
    return build(vocab, lambda piece: piece.replace("▁", " ").encode(), word_encoder(vocab), _DEFAULTS)

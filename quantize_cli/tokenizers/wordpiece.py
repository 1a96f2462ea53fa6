"""WordPiece, the tokenizer of BERT: words cut at spaces and punctuation, then into the longest pieces."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text
from quantize_cli.tokenizers.vocabulary.added_tokens import (
    backend_encode,
    backend_with_added_tokens,
    renumbered_warnings,
)
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer, model_of, model_type
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry, embedding_tokens
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, USER_DEFINED, vocabulary
from quantize_cli.tokenizers.vocabulary.pretokenizer import name_by_hash
from quantize_cli.tokenizers.vocabulary.special_tokens import looks_special
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer, build
from quantize_cli.tokenizers.vocabulary.wordpieces import BEGINNING, word_encoder

_MODEL = "bert"
_PRETOKENIZER = "bert-bge"
"""Where no hash is known. llama.cpp reads the name in no file of this kind."""
_BEGIN, _SEPARATOR = 101, 102
_DEFAULTS = {"bos_id": _BEGIN, "eos_id": None, "add_bos_token": True, "add_space_prefix": True}


def from_checkpoint(checkpoint: Checkpoint, config: Mapping[str, Any]) -> CheckpointTokenizer | None:
    """From tokenizer.json; None when there is none, or it holds another kind. FormatError when it is invalid."""
    document = checkpoint.json("tokenizer.json")
    model = model_of(document)
    if document is None or not model or model_type(model) != "WordPiece":
        return None
    source = f"{checkpoint.directory}/tokenizer.json"
    tokenizer = backend_with_added_tokens(checkpoint)
    added = tokenizer.get_added_tokens_decoder()
    entries = {token: TokenEntry(name, 0.0, NORMAL) for name, token in tokenizer.get_vocab().items()}
    for token, entry in added.items():
        special = entry.special or looks_special(entry.content)
        entries[token] = TokenEntry(entry.content, 0.0, CONTROL if special else USER_DEFINED)
    pieces, special_keys, warnings = embedding_tokens(checkpoint, entries, config["vocab_size"], _MODEL, source)
    prefix = str(model.get("continuing_subword_prefix", "##"))
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text(name_by_hash(lambda test: tokenizer.encode(test).ids) or _PRETOKENIZER),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [_spelled(piece, prefix) for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        **special_keys,
    }
    renumbered = renumbered_warnings(document, tokenizer, source)
    return CheckpointTokenizer(metadata, source, backend_encode(tokenizer), (*renumbered, *warnings))


def _spelled(piece: TokenEntry, prefix: str) -> str:
    """A token as llama.cpp has it: marked where a word begins, rather than where it goes on."""
    if piece.type == CONTROL:
        return piece.text
    return piece.text.removeprefix(prefix) if piece.text.startswith(prefix) else BEGINNING + piece.text


def from_gguf(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer that a GGUF file of this kind describes. A text begins and ends with tokens, whatever it says."""
    vocab = vocabulary(metadata)
    built = build(vocab, lambda piece: piece.replace(BEGINNING, " ").encode(), word_encoder(vocab), _DEFAULTS)
    return replace(built, adds_bos=True, adds_eos=True, eos_id=vocab.token("seperator", _SEPARATOR))

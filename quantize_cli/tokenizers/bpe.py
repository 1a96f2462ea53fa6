"""Byte-level BPE: GPT-2's letters for bytes, a pre-tokenizer that splits the text, and merges in order."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.added_tokens import (
    backend_encode,
    backend_with_added_tokens,
    missing_added_tokens,
    renumbered_warnings,
)
from quantize_cli.tokenizers.vocabulary.byte_level_bpe import BYTE_LETTERS, token_bytes, word_encoder
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer, model_of, model_type
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry, embedding_tokens
from quantize_cli.tokenizers.vocabulary.end_tokens import DEFAULT_EOS
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, NORMAL, USER_DEFINED, vocabulary
from quantize_cli.tokenizers.vocabulary.merge_scores import merge_list
from quantize_cli.tokenizers.vocabulary.nearest_pretokenizer import backend_pretokenizer, name_by_texts
from quantize_cli.tokenizers.vocabulary.pretokenizer import LLAMA_CPP, Pretokenizer, name_by_hash, name_by_structure
from quantize_cli.tokenizers.vocabulary.special_tokens import looks_special
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer, build

_MODEL = "gpt2"
_BOS_ID = 11
"""llama.cpp's default: Falcon's."""


def from_checkpoint(checkpoint: Checkpoint, config: Mapping[str, Any]) -> CheckpointTokenizer | None:
    """From tokenizer.json; None when there is none, or it holds another kind.

    FormatError or InputError when the file is invalid, or llama.cpp has no name for its pre-tokenizer.
    """
    document = checkpoint.json("tokenizer.json")
    model = model_of(document)
    if document is None or not model or model_type(model) != "BPE" or model.get("byte_fallback"):
        return None
    source = f"{checkpoint.directory}/tokenizer.json"
    if "merges" not in model:
        raise InputError(f"{source}: a BPE model without 'merges'")
    tokenizer = backend_with_added_tokens(checkpoint)
    name = name_by_hash(lambda test: tokenizer.encode(test).ids) or name_by_structure(document)
    warnings = renumbered_warnings(document, tokenizer, source)
    if name is None:
        name, warning = name_by_texts(document, tokenizer, source)
        warnings = (*warnings, warning)
    entries = _pieces(checkpoint, tokenizer)
    pieces, special, row_warnings = embedding_tokens(checkpoint, entries, config["vocab_size"], _MODEL, source)
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text(name),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        # Written even if empty: without the key llama.cpp does not load the file.
        "tokenizer.ggml.merges": array(ValueType.STRING, list(map(_merge_text, merge_list(model["merges"])))),
        **special,
    }
    encode = backend_encode(tokenizer) if name in LLAMA_CPP else None
    return CheckpointTokenizer(metadata, source, encode, (*warnings, *row_warnings), load=_loader(tokenizer))


def _loader(tokenizer: Backend) -> Callable[[Mapping[str, Value]], Tokenizer] | None:
    """`from_gguf` for metadata of this vocabulary and these merges, which are not built again.

    None where the vocabulary lacks bytes, which llama.cpp skips in its own way.
    """
    if any(tokenizer.token_to_id(letter) is None for letter in BYTE_LETTERS.values()):
        return None

    def load(metadata: Mapping[str, Value]) -> Tokenizer:
        vocab = vocabulary(metadata)
        cuts = LLAMA_CPP[vocab.text("pre", "default")]
        if cuts.ignores_merges != tokenizer.model.ignore_merges:
            return from_gguf(metadata)
        backend = Backend(tokenizer.model)
        backend.pre_tokenizer = backend_pretokenizer(cuts)
        return build(vocab, _spelled, backend_encode(backend), _defaults(cuts))

    return load


def _pieces(checkpoint: Checkpoint, tokenizer: Backend) -> dict[int, TokenEntry]:
    """All tokens by id."""
    added = tokenizer.get_added_tokens_decoder()
    entries = {token: TokenEntry(name, 0.0, NORMAL) for name, token in tokenizer.get_vocab().items()}
    for token, entry in added.items():
        name = entry.content
        if not entry.normalized:
            name = tokenizer.decode(tokenizer.encode(name, add_special_tokens=False).ids, skip_special_tokens=False)
        if entry.special or looks_special(name):
            entries[token] = TokenEntry(name, 0.0, CONTROL)
        else:
            entries[token] = TokenEntry(name.replace("▁", " "), 0.0, USER_DEFINED)
    return {**missing_added_tokens(checkpoint, tokenizer), **entries}


def _merge_text(merge: str | list[str]) -> str:
    """A merge as "left right"; a space inside a part becomes its byte's letter."""
    return merge if isinstance(merge, str) else " ".join(part.replace(" ", "Ġ") for part in merge)


def from_gguf(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer that a GGUF file of this kind describes; InputError for a pre-tokenizer without support."""
    vocab = vocabulary(metadata)
    name = vocab.text("pre", "default")
    if name not in LLAMA_CPP:
        raise InputError(f"pre-tokenizer {quoted(name)} is not supported", hint="known: " + ", ".join(LLAMA_CPP))
    return build(vocab, token_bytes, word_encoder(vocab, LLAMA_CPP[name]), _defaults(LLAMA_CPP[name]))


def _defaults(cuts: Pretokenizer) -> dict[str, Any]:
    return {
        "bos_id": _BOS_ID,
        "eos_id": DEFAULT_EOS[_MODEL],
        "add_bos_token": cuts.adds_bos,
        "add_space_prefix": False,
    }


_SPELLING = {ord(letter): byte for byte, letter in BYTE_LETTERS.items()}


def _spelled(name: str) -> bytes:
    """`token_bytes` in a fifth of the time, for tokens with no other letters."""
    return name.translate(_SPELLING).encode("latin-1", errors="replace")

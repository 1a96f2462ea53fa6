"""One file per kind of tokenizer: GGUF metadata out of a checkpoint, and text to tokens out of GGUF metadata."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.check import compare_encodings
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import CheckpointTokenizer, unsupported_tokenizer
from quantize_cli.tokenizers.vocabulary.gguf_keys import model_of
from quantize_cli.tokenizers.vocabulary.library_guard import guard_libraries
from quantize_cli.tokenizers.vocabulary.special_tokens import special_warnings
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer

__all__ = [
    "Tokenizer",
    "TokenizerMetadata",
    "checkpoint_tokenizer",
    "guard_libraries",
    "load_tokenizer",
    "special_warnings",
]

_KINDS = {"llama": "spm", "gpt2": "bpe", "bert": "wordpiece", "t5": "unigram"}
"""`tokenizer.ggml.model` -> the file that reads it."""
_FILES = {"spm": "tokenizer.model", "bpe": "tokenizer.json", "wordpiece": "tokenizer.json", "unigram": "tokenizer.json"}


class TokenizerMetadata(NamedTuple):
    """A checkpoint's tokenizer as a GGUF file describes it."""

    metadata: dict[str, Value]
    warnings: tuple[str, ...]


def checkpoint_tokenizer(
    checkpoint: Checkpoint, config: Mapping[str, Any], kinds: Iterable[str], more: Mapping[str, Value]
) -> TokenizerMetadata:
    """The `tokenizer.*` keys of the first of the kinds that the checkpoint has, and `more` keys of the model.

    `config["vocab_size"]` is the number of the embedding's rows. The tokens by these keys are compared with those of
    the checkpoint's own tokenizer. InputError when the checkpoint has none of the kinds, or GGUF cannot describe it.
    """
    kinds = tuple(kinds)
    for kind in kinds:
        described: CheckpointTokenizer | None = plugins.load("tokenizers", kind).from_checkpoint(checkpoint, config)
        if described is not None:
            metadata = {**described.metadata, **more}
            metadata.update({key: value for key, value in described.overrides.items() if key in metadata})
            load = described.load or load_tokenizer
            differing = compare_encodings(described, described.encode, load(metadata)) if described.encode else ()
            return TokenizerMetadata(metadata, (*described.warnings, *differing))
    raise unsupported_tokenizer(checkpoint, ", ".join(_FILES[kind] for kind in kinds))


def load_tokenizer(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer that a GGUF file describes; InputError without one, or when it is not supported."""
    model = model_of(metadata)
    if model is None:
        raise InputError("the file has no tokenizer: key 'tokenizer.ggml.model' is missing")
    if model not in _KINDS:
        raise InputError(f"tokenizer {quoted(model)} is not supported", hint="known: " + ", ".join(_KINDS))
    tokenizer: Tokenizer = plugins.load("tokenizers", _KINDS[model]).from_gguf(metadata)
    return tokenizer

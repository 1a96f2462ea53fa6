"""One file per kind of tokenizer: GGUF metadata out of a checkpoint, and text to tokens out of GGUF metadata."""

from collections.abc import Mapping

from formats.gguf.layout import Value
from formats.quoted import quoted
from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._library import careful
from quantize_cli.tokenizers._special import special_warnings
from quantize_cli.tokenizers._tokenizer import Tokenizer
from quantize_cli.tokenizers._vocabulary import model_of

__all__ = ["Tokenizer", "careful", "load_tokenizer", "special_warnings"]

_KINDS = {"llama": "spm", "gpt2": "bpe"}
"""`tokenizer.ggml.model` -> the file that knows it."""


def load_tokenizer(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer a GGUF file describes; InputError when it describes none, or one we cannot follow."""
    model = model_of(metadata)
    if model is None:
        raise InputError("the file has no tokenizer: key 'tokenizer.ggml.model' is missing")
    if model not in _KINDS:
        raise InputError(f"tokenizer {quoted(model)} is not supported", hint="known: " + ", ".join(_KINDS))
    found: Tokenizer = plugins.load("tokenizers", _KINDS[model]).encoder(metadata)
    return found

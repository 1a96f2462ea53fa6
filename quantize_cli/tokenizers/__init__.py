"""One file per kind of tokenizer: GGUF metadata out of a checkpoint, and text to tokens out of GGUF metadata."""

from collections.abc import Mapping

from formats.gguf.layout import Value
from formats.quoted import quoted
from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._tokenizer import Tokenizer

__all__ = ["Tokenizer", "load_tokenizer"]

_KINDS = {"llama": "spm", "gpt2": "bpe"}
"""`tokenizer.ggml.model` -> the file that knows it."""


def load_tokenizer(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer a GGUF file describes; InputError when it describes none, or one we cannot follow."""
    model = metadata.get("tokenizer.ggml.model")
    if model is None:
        raise InputError("the file has no tokenizer: key 'tokenizer.ggml.model' is missing")
    if model.data not in _KINDS:
        raise InputError(f"tokenizer {quoted(str(model.data))} is not supported", hint="known: " + ", ".join(_KINDS))
    found: Tokenizer = plugins.load("tokenizers", _KINDS[model.data]).encoder(metadata)
    return found

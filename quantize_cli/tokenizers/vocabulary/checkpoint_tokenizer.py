"""A checkpoint's tokenizer as its files describe it: metadata for GGUF, and its own encoding of a text."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer

Encode = Callable[[str], list[int]]
"""From text to ids: special tokens in the text are read as such, and none are added at its ends."""


class CheckpointTokenizer(NamedTuple):
    """A tokenizer that a checkpoint stores."""

    metadata: dict[str, Value]
    """The `tokenizer.*` keys."""
    source: str
    """The path of the file that counts."""
    encode: Encode | None
    """The encoding by that file; None where we cannot compute llama.cpp's."""
    warnings: tuple[str, ...] = ()
    overrides: Mapping[str, Value] = {}
    """Keys that override those of any other file of the checkpoint."""
    texts: tuple[str, ...] = ()
    """Texts that llama.cpp may encode differently, to be compared beside the built-in ones."""
    load: Callable[[Mapping[str, Value]], Tokenizer] | None = None
    """`load_tokenizer` at less cost, as the bytes of the tokens are not needed."""


SUPPORTED = "supported are byte-level BPE (as in GPT-2) and SentencePiece BPE with byte fallback, and of BERT WordPiece"
_KNOWN = {
    "Unigram": "Unigram (that of T5, XLNet and ALBERT)",
    "WordPiece": "WordPiece (that of BERT)",
    "WordLevel": "WordLevel (a token for each word)",
}
_SLOW = {
    ("vocab.json", "merges.txt"): "vocab.json and merges.txt",
    ("vocab.txt",): "vocab.txt",
    ("tekken.json",): "tekken.json",
    ("spiece.model",): "spiece.model",
    ("tokenizer.model.v3",): "tokenizer.model.v3",
}
"""Tokenizer files of other programs, which we do not read."""


def unsupported_tokenizer(checkpoint: Checkpoint, files: str) -> InputError:
    """The error for a checkpoint without a supported tokenizer; `files` are those that could hold one."""
    model = model_of(checkpoint.json("tokenizer.json"))
    if model:
        kind = model_type(model)
        named = _KNOWN.get(kind, quoted(kind))
        return InputError(
            f"{checkpoint.directory}/tokenizer.json: a tokenizer of type {named} is not supported", SUPPORTED
        )
    if checkpoint.file("tokenizer.json"):
        return InputError(f"{checkpoint.directory}/tokenizer.json: holds no 'model', so it is no tokenizer", SUPPORTED)
    message = f"{checkpoint.directory}: has none of the tokenizer files {files}"
    for names, listed in _SLOW.items():
        if all(checkpoint.file(name) for name in names):
            return InputError(
                f"{message}, only {listed}",
                hint="transformers writes tokenizer.json when it loads and saves such a tokenizer",
            )
    return InputError(message, hint="copy it from the model that this one was trained from")


def model_of(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `model` of a tokenizer.json, or an empty dictionary."""
    model = (document or {}).get("model")
    return model if isinstance(model, dict) else {}


def model_type(model: Mapping[str, Any]) -> str:
    """The model's type; old files only show it by their keys."""
    if isinstance(model.get("type"), str):
        return str(model["type"])
    if "merges" in model:
        return "BPE"
    if "continuing_subword_prefix" in model:
        return "WordPiece"
    return "Unigram" if isinstance(model.get("vocab"), list) else "WordLevel"

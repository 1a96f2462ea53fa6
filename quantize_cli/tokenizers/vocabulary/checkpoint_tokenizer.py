"""What a checkpoint's tokenizer files say: metadata for the file, and the tokens they make of a text themselves."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.tokenizer import Tokenizer

Encode = Callable[[str], list[int]]
"""A text's ids, with markers read out of it and nothing put before or after it."""


class CheckpointTokenizer(NamedTuple):
    """A tokenizer as it is stored."""

    metadata: dict[str, Value]
    """The `tokenizer.*` keys."""
    source: str
    """The path of the file that is believed."""
    encode: Encode | None
    """What that file makes of a text; None where we cannot follow what llama.cpp will make of it."""
    warnings: tuple[str, ...] = ()
    overrides: Mapping[str, Value] = {}
    """Those keys that no other file of the checkpoint overrules."""
    texts: tuple[str, ...] = ()
    """Which llama.cpp may cut otherwise, to be tried beside the built-in ones."""
    load: Callable[[Mapping[str, Value]], Tokenizer] | None = None
    """What `load_tokenizer` gives, at less cost: the tokens' own bytes are not needed."""


SUPPORTED = "supported are byte-level BPE (that of GPT-2) and SentencePiece's BPE, which falls back to bytes"
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
"""Files that hold a tokenizer for some programs, and not for us."""


def unsupported_tokenizer(checkpoint: Checkpoint, files: str) -> InputError:
    """Why a checkpoint has no tokenizer that we know; `files` are those that could have been one."""
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
    """The `model` of a tokenizer.json, or an empty object."""
    model = (document or {}).get("model")
    return model if isinstance(model, dict) else {}


def model_type(model: Mapping[str, Any]) -> str:
    """Its type, which old files leave to be seen from its keys."""
    if isinstance(model.get("type"), str):
        return str(model["type"])
    if "merges" in model:
        return "BPE"
    if "continuing_subword_prefix" in model:
        return "WordPiece"
    return "Unigram" if isinstance(model.get("vocab"), list) else "WordLevel"

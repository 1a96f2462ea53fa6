"""Byte-level BPE: GPT-2's letters for bytes, a pre-tokenizer that cuts, and merges in order."""

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, ValueType, array, text
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._added import added_tokenizer
from quantize_cli.tokenizers._byte_words import say, word_encoder
from quantize_cli.tokenizers._ends import ENGINE_EOS
from quantize_cli.tokenizers._pretokenizer import ENGINE, known_name, name_by_structure
from quantize_cli.tokenizers._special import looks_special, special_metadata
from quantize_cli.tokenizers._tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, Tokenizer, build, vocabulary

_MODEL = "gpt2"
_BOS_ID = 11
"""What llama.cpp takes when a file says nothing: Falcon's."""


def metadata(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Value] | None:
    """The `tokenizer.*` keys from tokenizer.json; None when there is none, or it holds another kind.

    FormatError or InputError when the file is not what it promises, or cuts text in a way llama.cpp has no name for.
    """
    document = checkpoint.json("tokenizer.json")
    model = (document or {}).get("model")
    if document is None or not isinstance(model, dict) or "merges" not in model or model.get("byte_fallback"):
        return None
    tokenizer = added_tokenizer(checkpoint)
    name = known_name(lambda test: tokenizer.encode(test).ids) or name_by_structure(document)
    if name is None:
        raise InputError(
            f"{checkpoint.directory}/tokenizer.json: llama.cpp has no name for this pre-tokenizer",
            hint="known are those of GPT-2, Llama 3, Qwen 2, SmolLM, Mistral Nemo, and GPT-4o",
        )
    tokens, types = _tokens(checkpoint, tokenizer, config)
    return {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text(name),
        "tokenizer.ggml.tokens": array(ValueType.STRING, tokens),
        "tokenizer.ggml.token_type": array(ValueType.INT32, types),
        # Written though it be empty: without the key llama.cpp does not load the file.
        "tokenizer.ggml.merges": array(ValueType.STRING, _merges(model["merges"])),
        **special_metadata(checkpoint, tokens, _MODEL),
    }


def _tokens(checkpoint: Checkpoint, tokenizer: Backend, config: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """By id, the texts and types of all tokens; ids that no token has are filled up to the config's vocabulary."""
    names = {token: name for name, token in tokenizer.get_vocab().items()}
    added = tokenizer.get_added_tokens_decoder()
    size = config.get("vocab_size", len(names))
    if not isinstance(size, int) or max(names, default=-1) >= size:
        raise InputError(
            f"{checkpoint.directory}/tokenizer.json: token {quoted(names[max(names)])} has id {max(names)}, "
            f"the config's vocab_size is {quoted(str(size))}"
        )
    tokens, types = [], []
    for token in range(size):
        name, type_ = names.get(token, f"[PAD{token}]"), NORMAL if token in names else UNUSED
        if token in added:
            if not added[token].normalized:
                name = tokenizer.decode(tokenizer.encode(name, add_special_tokens=False).ids, skip_special_tokens=False)
            type_ = CONTROL if added[token].special or looks_special(name) else USER_DEFINED
            name = name.replace("▁", " ") if type_ == USER_DEFINED else name
        tokens.append(name)
        types.append(type_)
    return tokens, types


def _merges(stored: Any) -> list[str]:
    """Merges as "left right", from either spelling; a space inside a part is spelled as its byte's letter."""
    if not isinstance(stored, list):
        raise InputError(f"tokenizer.json: 'merges' is a {type(stored).__name__}, not a list")
    return [merge if isinstance(merge, str) else " ".join(part.replace(" ", "Ġ") for part in merge) for merge in stored]


def encoder(metadata: Mapping[str, Value]) -> Tokenizer:
    """The tokenizer a GGUF file of this kind describes; InputError when its pre-tokenizer is none we can follow."""
    words = vocabulary(metadata)
    name = words.text("pre", "default")
    if name not in ENGINE:
        raise InputError(f"pre-tokenizer {quoted(name)} is not supported", hint="known: " + ", ".join(ENGINE))
    defaults = {
        "bos_id": _BOS_ID,
        "eos_id": ENGINE_EOS[_MODEL],
        "add_bos_token": ENGINE[name].adds_bos,
        "add_space_prefix": False,
    }
    return build(words, say, word_encoder(words, ENGINE[name]), defaults)

"""Byte-level BPE: GPT-2's letters for bytes, a pre-tokenizer that cuts, and merges in order."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.added import added_tokenizer, encoder_of, moved, unknown_additions
from quantize_cli.tokenizers.vocabulary.byte_words import LETTERS, say, word_encoder
from quantize_cli.tokenizers.vocabulary.ends import ENGINE_EOS
from quantize_cli.tokenizers.vocabulary.lookalike import name_by_texts, sequence
from quantize_cli.tokenizers.vocabulary.pretokenizer import ENGINE, Pretokenizer, known_name, name_by_structure
from quantize_cli.tokenizers.vocabulary.rows import Piece, fitted, needs, texts_of
from quantize_cli.tokenizers.vocabulary.special import looks_special, special_metadata
from quantize_cli.tokenizers.vocabulary.stored import Stored, model_of, model_type
from quantize_cli.tokenizers.vocabulary.tokenizer import CONTROL, NORMAL, USER_DEFINED, Tokenizer, build, vocabulary

_MODEL = "gpt2"
_BOS_ID = 11
"""What llama.cpp takes when a file says nothing: Falcon's."""


def stored(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Stored | None:
    """From tokenizer.json; None when there is none, or it holds another kind.

    FormatError or InputError when the file is not what it promises, or cuts text in a way llama.cpp has no name for.
    """
    document = checkpoint.json("tokenizer.json")
    model = model_of(document)
    if document is None or not model or model_type(model) != "BPE" or model.get("byte_fallback"):
        return None
    source = f"{checkpoint.directory}/tokenizer.json"
    if "merges" not in model:
        raise InputError(f"{source}: a BPE model without 'merges'")
    tokenizer = added_tokenizer(checkpoint)
    name = known_name(lambda test: tokenizer.encode(test).ids) or name_by_structure(document)
    said = moved(document, tokenizer, source)
    if name is None:
        name, warning = name_by_texts(document, tokenizer, source)
        said = (*said, warning)
    found = _pieces(checkpoint, tokenizer)
    special = special_metadata(checkpoint, texts_of(found, config["vocab_size"]), _MODEL)
    pieces, warnings = fitted(found, config["vocab_size"], needs(checkpoint, special), source)
    metadata = {
        "tokenizer.ggml.model": text(_MODEL),
        "tokenizer.ggml.pre": text(name),
        "tokenizer.ggml.tokens": array(ValueType.STRING, [piece.text for piece in pieces]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [piece.type for piece in pieces]),
        # Written though it be empty: without the key llama.cpp does not load the file.
        "tokenizer.ggml.merges": array(ValueType.STRING, _merges(model["merges"])),
        **special,
    }
    encode = encoder_of(tokenizer) if name in ENGINE else None
    return Stored(metadata, source, encode, (*said, *warnings), follow=_follower(tokenizer))


def _follower(tokenizer: Backend) -> Callable[[Mapping[str, Value]], Tokenizer] | None:
    """What `encoder` makes of metadata of this vocabulary and these merges, which are not built a second time.

    None where the vocabulary lacks bytes, which llama.cpp passes by in a way of its own.
    """
    if any(tokenizer.token_to_id(letter) is None for letter in LETTERS.values()):
        return None

    def follow(metadata: Mapping[str, Value]) -> Tokenizer:
        words = vocabulary(metadata)
        cuts = ENGINE[words.text("pre", "default")]
        if cuts.ignores_merges != tokenizer.model.ignore_merges:
            return encoder(metadata)
        backend = Backend(tokenizer.model)
        backend.pre_tokenizer = sequence(cuts)
        return build(words, _spelled, encoder_of(backend), _defaults(cuts))

    return follow


def _pieces(checkpoint: Checkpoint, tokenizer: Backend) -> dict[int, Piece]:
    """By id, the texts and types of all tokens."""
    added = tokenizer.get_added_tokens_decoder()
    found = {token: Piece(name, 0.0, NORMAL) for name, token in tokenizer.get_vocab().items()}
    for token, entry in added.items():
        name = entry.content
        if not entry.normalized:
            name = tokenizer.decode(tokenizer.encode(name, add_special_tokens=False).ids, skip_special_tokens=False)
        if entry.special or looks_special(name):
            found[token] = Piece(name, 0.0, CONTROL)
        else:
            found[token] = Piece(name.replace("▁", " "), 0.0, USER_DEFINED)
    return {**unknown_additions(checkpoint, tokenizer), **found}


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
    return build(words, say, word_encoder(words, ENGINE[name]), _defaults(ENGINE[name]))


def _defaults(cuts: Pretokenizer) -> dict[str, Any]:
    return {
        "bos_id": _BOS_ID,
        "eos_id": ENGINE_EOS[_MODEL],
        "add_bos_token": cuts.adds_bos,
        "add_space_prefix": False,
    }


_SPELLING = {ord(letter): byte for byte, letter in LETTERS.items()}


def _spelled(name: str) -> bytes:
    """What `say` gives, in a fifth of the time, of tokens that hold no other letters."""
    return name.translate(_SPELLING).encode("latin-1", errors="replace")

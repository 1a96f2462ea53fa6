"""Byte-level BPE: GPT-2's letters for bytes, a pre-tokenizer that cuts, and merges in order."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, ValueType, array, text
from formats.quoted import quoted
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._added import added_tokenizer, encoder_of, moved, unknown_additions
from quantize_cli.tokenizers._lookalike import name_by_texts, sequence
from quantize_cli.tokenizers._pretokenizer import ENGINE, Pretokenizer, known_name, name_by_structure
from quantize_cli.tokenizers._rows import Piece, fitted, needs
from quantize_cli.tokenizers._special import looks_special, special_metadata
from quantize_cli.tokenizers._stored import Stored, model_of, model_type
from quantize_cli.tokenizers._tokenizer import CONTROL, NORMAL, USER_DEFINED, Tokenizer, build, vocabulary

_BOS_ID = _EOS_ID = 11
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
    special = special_metadata(checkpoint, vocabulary=config["vocab_size"])
    pieces, warnings = fitted(_pieces(checkpoint, tokenizer), config["vocab_size"], needs(checkpoint, special), source)
    metadata = {
        "tokenizer.ggml.model": text("gpt2"),
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
    if any(tokenizer.token_to_id(letter) is None for letter in _BYTES):
        return None

    def follow(metadata: Mapping[str, Value]) -> Tokenizer:
        words = vocabulary(metadata)
        cuts = ENGINE[words.value("pre", "default")]
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
    name = words.value("pre", "default")
    if name not in ENGINE:
        raise InputError(f"pre-tokenizer {quoted(str(name))} is not supported", hint="known: " + ", ".join(ENGINE))
    backend = _backend(words.texts, words.value("merges", []), ENGINE[name])

    def encode_words(characters: str) -> list[int]:
        ids: list[int] = backend.encode(characters, add_special_tokens=False).ids
        return ids

    return build(words, _say, encode_words, _defaults(ENGINE[name]))


def _defaults(cuts: Pretokenizer) -> dict[str, Any]:
    return {"bos_id": _BOS_ID, "eos_id": _EOS_ID, "add_bos_token": cuts.adds_bos, "add_space_prefix": False}


def _backend(texts: tuple[str, ...], merges: Any, cuts: Pretokenizer) -> Backend:
    ids = {name: token for token, name in enumerate(texts)}
    # A space can be the first letter of a merge's left part, never of its right.
    pairs = [(merge[:at], merge[at + 1 :]) for merge in merges for at in (merge.find(" ", 1),) if at > 0]
    usable = [(left, right) for left, right in pairs if left in ids and right in ids and left + right in ids]
    backend = Backend(models.BPE(vocab=ids, merges=usable, ignore_merges=cuts.ignores_merges))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cuts.splits]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    return backend


def _letters_of_bytes() -> dict[str, int]:
    """GPT-2's letter for each byte: itself where it is printable Latin-1, else the next letter from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


_BYTES = _letters_of_bytes()


def _say(name: str) -> bytes:
    """The bytes a token's letters stand for; a letter that stands for none says itself."""
    return b"".join(bytes([_BYTES[letter]]) if letter in _BYTES else letter.encode() for letter in name)


_SPELLING = {ord(letter): byte for letter, byte in _BYTES.items()}


def _spelled(name: str) -> bytes:
    """What `_say` gives, in a fifth of the time, of tokens that hold no other letters."""
    return name.translate(_SPELLING).encode("latin-1", errors="replace")

"""Added tokens of a checkpoint's files, and tokenizer.json with all of them."""

import re
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers.vocabulary.checkpoint_tokenizer import Encode
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry
from quantize_cli.tokenizers.vocabulary.gguf_keys import CONTROL, USER_DEFINED
from quantize_cli.tokenizers.vocabulary.library_guard import first_line
from quantize_cli.tokenizers.vocabulary.special_tokens import listed_added_tokens, looks_special, token_text

ADDED_SCORE = -1000.0
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE = ("additional_special_tokens", "extra_special_tokens")


def backend_with_added_tokens(checkpoint: Checkpoint) -> Backend:
    """tokenizer.json with the tokens of tokenizer_config.json, which transformers adds in this order.

    InputError when the file is not a tokenizer.
    """
    try:
        tokenizer = Backend.from_str(checkpoint.text("tokenizer.json") or "")
    except Exception as error:
        # The library raises nothing narrower.
        raise InputError(f"{checkpoint.directory}/tokenizer.json: {first_line(error)}") from error
    # Both would change what the test text encodes to.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    decoder = (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    entries = {key: entry for key, entry in decoder.items() if token_text(entry)} if isinstance(decoder, dict) else {}
    tokenizer.add_tokens([_added(entries[key]) for key in sorted(entries, key=_as_id)])
    contents = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    missing = [name for name in special_texts(checkpoint) if name not in contents]
    tokenizer.add_tokens([AddedToken(name, special=True) for name in missing])
    return tokenizer


def renumbered_warnings(document: Mapping[str, Any], tokenizer: Backend, source: str) -> tuple[str, ...]:
    """A warning when `tokenizers` gives added tokens other ids than the stored ones."""
    mismatches = []
    for entry in listed_added_tokens(document):
        library_id = tokenizer.token_to_id(str(token_text(entry)))
        if library_id is not None and library_id != entry.get("id"):
            mismatches.append(
                f"{quoted(str(token_text(entry)))} is stored as {quoted(str(entry.get('id')))} and read as {library_id}"
            )
    if not mismatches:
        return ()
    more = f", and {len(mismatches) - 1} more" if len(mismatches) > 1 else ""
    return (f"{source}: added token {mismatches[0]}{more}, as the ids before it have gaps",)


def backend_encode(backend: Backend) -> Encode:
    """A function from text to the ids of tokenizer.json."""

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def special_texts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The texts of the tokens with a role (BOS, EOS, padding, ...), in the order in which transformers adds them."""
    config = checkpoint.json("tokenizer_config.json") or {}
    if "added_tokens_decoder" not in config:
        config = {**config, **(checkpoint.json("special_tokens_map.json") or {})}
    listed: list[Any] = [config.get(key) for key in _NAMED]
    for key in _MORE:
        more = config.get(key)
        listed += more if isinstance(more, list) else []
    return tuple(dict.fromkeys(name for name in map(token_text, listed) if name))


def added_tokens_json(checkpoint: Checkpoint) -> dict[int, TokenEntry]:
    """The tokens of added_tokens.json, which holds only texts and ids."""
    ids = checkpoint.json("added_tokens.json") or {}
    specials = special_texts(checkpoint)
    return {
        token: TokenEntry(name, ADDED_SCORE, CONTROL if name in specials or looks_special(name) else USER_DEFINED)
        for name, token in ids.items()
        if isinstance(token, int)
    }


def missing_added_tokens(checkpoint: Checkpoint, tokenizer: Backend) -> dict[int, TokenEntry]:
    """The tokens of added_tokens.json that tokenizer.json does not have."""
    entries = added_tokens_json(checkpoint)
    return {token: piece for token, piece in entries.items() if tokenizer.token_to_id(piece.text) is None}


def config_added_tokens(checkpoint: Checkpoint) -> dict[int, TokenEntry]:
    """The tokens that tokenizer_config.json adds or replaces."""
    decoder = (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    entries = {}
    for key, entry in decoder.items() if isinstance(decoder, dict) else []:
        name = token_text(entry)
        if name is None or not re.fullmatch("[0-9]{1,9}", key):
            raise InputError(f"tokenizer_config.json: added token {quoted(key)} has no text, or no id")
        entries[int(key)] = added_token(name, isinstance(entry, dict) and bool(entry.get("special")))
    return entries


def added_token(name: str, special: bool) -> TokenEntry:
    """A token that is added to a SentencePiece vocabulary."""
    if special or looks_special(name):
        return TokenEntry(name, ADDED_SCORE, CONTROL)
    return TokenEntry(name.replace("▁", " "), ADDED_SCORE, USER_DEFINED)


def _added(described: Any) -> AddedToken:
    entry = described if isinstance(described, dict) else {"content": described}
    flags = {name: bool(entry[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in entry}
    return AddedToken(token_text(entry) or "", special=bool(entry.get("special")), **flags)


def _as_id(key: str) -> int:
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else 1 << 32

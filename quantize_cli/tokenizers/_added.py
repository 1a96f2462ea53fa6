"""The tokenizer of a tokenizer.json, with the tokens that the files beside it add."""

from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from formats.checkpoint import Checkpoint
from quantize_cli.errors import InputError
from quantize_cli.tokenizers._special import content

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE = ("additional_special_tokens", "extra_special_tokens")


def added_tokenizer(checkpoint: Checkpoint) -> Backend:
    """tokenizer.json with the tokens of tokenizer_config.json, which transformers adds in this order.

    InputError when the file is no tokenizer.
    """
    try:
        tokenizer = Backend.from_str(checkpoint.text("tokenizer.json") or "")
    except Exception as error:
        # The library raises nothing narrower.
        raise InputError(f"{checkpoint.directory}/tokenizer.json: {_first_line(error)}") from error
    # Both would change what the test text encodes to.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    stated = (checkpoint.json("tokenizer_config.json") or {}).get("added_tokens_decoder")
    entries = {key: entry for key, entry in stated.items() if content(entry)} if isinstance(stated, dict) else {}
    tokenizer.add_tokens([_added(entries[key]) for key in sorted(entries, key=_as_id)])
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_tokens([AddedToken(name, special=True) for name in sorted(named_specials(checkpoint) - known)])
    return tokenizer


def named_specials(checkpoint: Checkpoint) -> frozenset[str]:
    """The texts of the tokens that a role is stated for: those that begin, end, pad, ..."""
    config = checkpoint.json("tokenizer_config.json") or {}
    if "added_tokens_decoder" not in config:
        config = {**config, **(checkpoint.json("special_tokens_map.json") or {})}
    listed: list[Any] = [config.get(key) for key in _NAMED]
    for key in _MORE:
        more = config.get(key)
        listed += more if isinstance(more, list) else []
    return frozenset(name for name in map(content, listed) if name)


def _added(stated: Any) -> AddedToken:
    entry = stated if isinstance(stated, dict) else {"content": stated}
    flags = {name: bool(entry[name]) for name in ("single_word", "lstrip", "rstrip", "normalized") if name in entry}
    return AddedToken(content(entry) or "", special=bool(entry.get("special")), **flags)


def _as_id(key: str) -> int:
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else 1 << 32


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["not a tokenizer"])[0]

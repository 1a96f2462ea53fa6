"""Scores from merges: a tokenizer.json of BPE keeps the order of merging, llama.cpp needs a score for each piece.

llama.cpp joins the two neighbours whose piece has the best score, of equals the leftmost; `tokenizers` joins the pair
that was learned first. Both give the same result if a piece's score falls with the rank of the first merge that makes
it, and every split of a piece into two others is a merge, as in files made from a tokenizer.model. SentencePiece's
training writes the same scores: -n for the n-th piece, and lower ones for single letters.
"""

import re
from collections.abc import Collection, Mapping
from itertools import count
from operator import itemgetter
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from quantize_cli.errors import InputError
from quantize_cli.tokenizers.vocabulary.added_tokens import ADDED_SCORE
from quantize_cli.tokenizers.vocabulary.embedding_rows import TokenEntry
from quantize_cli.tokenizers.vocabulary.gguf_keys import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from quantize_cli.tokenizers.vocabulary.special_tokens import looks_special

UNREACHED_SCORE = -1e9
"""Of a piece that no merge makes: llama.cpp may still make it, but only when no other merge is left."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def merged_pieces(model: Mapping[str, Any], backend: Backend, specials: Collection[str]) -> dict[int, TokenEntry]:
    """The pieces of a tokenizer.json by id; `model` is its model, `backend` the whole file with all added tokens."""
    base = backend.get_vocab(with_added_tokens=False)
    added = backend.get_added_tokens_decoder()
    ranks = ranks_of(model.get("merges"), base)
    letters = count(len(ranks))
    pieces = {}
    for name, token in sorted(base.items(), key=itemgetter(1)):
        if name in ranks and token not in added and name not in specials:
            pieces[token] = TokenEntry(name, float(-ranks[name]), NORMAL)
            continue
        if name == model.get("unk_token"):
            type_ = UNKNOWN
        else:
            type_ = BYTE if _BYTE.fullmatch(name) else _type(name, added.get(token), specials)
        if type_ == USER_DEFINED and "▁" in name and name in ranks:
            # Merging makes it; the search for added tokens does not, as its text has another spelling of spaces.
            type_ = NORMAL
        if name in ranks:
            score = float(-ranks[name])
        elif type_ == NORMAL and len(name) == 1:
            score = float(-next(letters))
        else:
            score = UNREACHED_SCORE if type_ != BYTE and can_be_joined(name, base) else 0.0
        pieces[token] = TokenEntry(name, score, type_)
    for token, entry in added.items():
        if token not in pieces:
            type_ = _type(entry.content, entry, specials)
            spelled = entry.content.replace("▁", " ") if entry.normalized and type_ == USER_DEFINED else entry.content
            pieces[token] = TokenEntry(spelled, ADDED_SCORE, type_)
    return pieces


def ranks_of(merges: Any, base: Mapping[str, int]) -> dict[str, int]:
    """By piece, the number of pieces that merge before it, in that order."""
    ranks: dict[str, int] = {}
    for merge in merge_list(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:
            continue
        left, right = parts
        joined = left + right
        if joined not in ranks and joined in base and left in base and right in base:
            ranks[joined] = len(ranks)
    return ranks


def merge_list(merges: Any) -> list[Any]:
    """The merges of a tokenizer.json, each "left right" or [left, right]; InputError for another kind of value."""
    if not isinstance(merges, list):
        raise InputError(f"tokenizer.json: 'merges' is a {type(merges).__name__}, not a list")
    return merges


def _type(name: str, added: AddedToken | None, specials: Collection[str]) -> int:
    if name in specials or (added is not None and (added.special or looks_special(name))):
        return CONTROL
    return NORMAL if added is None else USER_DEFINED


def can_be_joined(name: str, base: Collection[str]) -> bool:
    """Whether two other pieces of a vocabulary, or letters, make this piece, so that llama.cpp may merge them."""
    splits = ((name[:at], name[at:]) for at in range(1, len(name)))
    return any(all(len(part) == 1 or part in base for part in parts) for parts in splits)


def adds_space_prefix(backend: Backend) -> bool:
    """Whether the normalizer or the pre-tokenizer puts a space before a text."""
    text = "a" if backend.normalizer is None else backend.normalizer.normalize_str("a")
    pieces = [text]
    if backend.pre_tokenizer is not None:
        pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    return "".join(pieces).startswith(("▁", " "))

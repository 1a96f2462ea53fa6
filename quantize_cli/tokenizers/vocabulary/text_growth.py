"""How long a tokenizer.json makes a text: ten thousand bytes of it can fill the memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from quantize_cli.tokenizers.vocabulary.special_tokens import listed_added_tokens

_TEXT_NBYTES = 1000
"""Of the longest text that we encode with it."""
MAX_NBYTES = 1 << 20
"""The longest result that is allowed; the library takes fifty times as much. Usual files grow a text threefold."""
_LETTER_NBYTES = 4
_TIMES = {"ByteLevel": 2, "NFC": 3, "NFD": 4, "NFKC": 11, "NFKD": 11, "BertNormalizer": 4, "Lowercase": 2}
"""The most bytes that these make of one; that of Metaspace and Replace follows from what they insert."""
_PARTS = ("normalizers", "pretokenizers", "decoders")


def longest_text_nbytes(document: Mapping[str, Any]) -> int:
    """The bytes that a text, or an added token, may become by the steps of a tokenizer.json.

    The count stops at one byte above the maximum.
    """
    start = max([_TEXT_NBYTES, *(_nbytes(entry.get("content")) for entry in listed_added_tokens(document))])
    encoded = _grown(start, [document.get("normalizer"), document.get("pre_tokenizer")])
    return max(encoded, _grown(start, document.get("decoder")))


def _grown(nbytes: int, part: Any) -> int:
    """The bytes that a text of `nbytes` bytes may become by a part of a tokenizer.json."""
    for described in _flat(part):
        times, more = _growth(described)
        nbytes = min(times * nbytes + more, MAX_NBYTES + 1)
    return nbytes


def _flat(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part and, in order, the parts inside it; anything else makes no text longer and is left out."""
    waiting = [part]
    while waiting:
        described = waiting.pop()
        if isinstance(described, list):
            waiting += reversed(described)
        elif isinstance(described, dict):
            yield described
            waiting += [described[key] for key in _PARTS if key in described]


def _growth(described: Mapping[str, Any]) -> tuple[int, int]:
    """(times, more): a text of n bytes becomes at most `times` * n + `more` bytes."""
    kind = described.get("type")
    if kind == "Prepend":
        return 1, _nbytes(described.get("prepend"))
    if kind == "Metaspace":
        return _LETTER_NBYTES, _LETTER_NBYTES
    if kind == "Replace":
        pattern = described.get("pattern")
        replaced = _nbytes(pattern.get("String")) if isinstance(pattern, dict) else 0
        put_in = _nbytes(described.get("content"))
        # A regular expression may match at every letter, and between any two.
        return (max(1, -(-put_in // replaced)), put_in) if replaced else (put_in + 1, put_in)
    return _TIMES.get(str(kind), 1), 0


def _nbytes(text: Any) -> int:
    return len(text.encode()) if isinstance(text, str) else 0

"""How much longer a tokenizer.json makes a text: ten thousand bytes of it can spell a memory full of letters."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_TEXT_NBYTES = 1000
"""Of the longest text that is tried."""
MAX_NBYTES = 1 << 20
"""That a text may become: the library takes some fifty times as much. Honest ones grow threefold, few tenfold."""
_LETTER_NBYTES = 4
_TIMES = {"ByteLevel": 2, "NFC": 3, "NFD": 4, "NFKC": 11, "NFKD": 11, "BertNormalizer": 4, "Lowercase": 2}
"""What these make of one byte at most; Metaspace and Replace follow from what they put in."""
_PARTS = ("normalizers", "pretokenizers", "decoders")


class GrowthStep(NamedTuple):
    """A text of n bytes becomes `times` * n + `more`."""

    times: int
    more: int


def longest_text_nbytes(document: Mapping[str, Any]) -> int:
    """How many bytes a text, or a token that is added, may become by the steps of a tokenizer.json; no more is counted
    than a byte beyond the most.
    """
    added = document.get("added_tokens")
    contents = [entry.get("content") for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
    longest_content = max((len(content.encode()) for content in contents if isinstance(content, str)), default=0)
    start = max(longest_content, _TEXT_NBYTES)
    cut = _grown(start, [*_steps(document.get("normalizer")), *_steps(document.get("pre_tokenizer"))])
    return max(cut, _grown(start, _steps(document.get("decoder"))))


def _grown(nbytes: int, steps: list[GrowthStep]) -> int:
    for step in steps:
        nbytes = min(step.times * nbytes + step.more, MAX_NBYTES + 1)
    return nbytes


def _steps(part: Any) -> list[GrowthStep]:
    """The steps of a normalizer, pre-tokenizer or decoder, and of those it is made of."""
    return [_step(described) for described in _flat(part)]


def _flat(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part and, one after the other, those inside it; what is none is left out, as it makes nothing longer."""
    waiting = [part]
    while waiting:
        described = waiting.pop()
        if isinstance(described, list):
            waiting += reversed(described)
        elif isinstance(described, dict):
            yield described
            waiting += [described[key] for key in _PARTS if key in described]


def _step(described: Mapping[str, Any]) -> GrowthStep:
    kind = described.get("type")
    if kind == "Prepend":
        return GrowthStep(1, _nbytes(described.get("prepend")))
    if kind == "Metaspace":
        return GrowthStep(_LETTER_NBYTES, _LETTER_NBYTES)
    if kind == "Replace":
        pattern = described.get("pattern")
        replaced = _nbytes(pattern.get("String")) if isinstance(pattern, dict) else 0
        put_in = _nbytes(described.get("content"))
        # A regular expression may match at every letter, and between any two.
        return GrowthStep(max(1, -(-put_in // replaced)), put_in) if replaced else GrowthStep(put_in + 1, put_in)
    return GrowthStep(_TIMES.get(str(kind), 1), 0)


def _nbytes(text: Any) -> int:
    return len(text.encode()) if isinstance(text, str) else 0

"""Markers of a vocabulary that stand in a text, such as <|im_end|>, which is read as letters unless told otherwise."""

from typing import Protocol

from quantize_cli.formats.quoted import quoted

_MANY, _PER_TOKENS = 10, 1000
_PREFIX = 3
_SHOWN = 3


class Marked(Protocol):
    """What is needed of a tokenizer."""

    @property
    def markers(self) -> tuple[tuple[str, int], ...]: ...

    @property
    def silent(self) -> frozenset[int]: ...


def markers_in(text: str, tokenizer: Marked) -> dict[str, int]:
    """How often each control token stands in `text`, by its name; of those that overlap the longest counts."""
    wanted = [marker for marker, token in tokenizer.markers if token in tokenizer.silent]
    # Thousands of unused tokens begin alike, and few texts have what they begin with.
    met = {prefix for prefix in {marker[:_PREFIX] for marker in wanted} if prefix in text}
    found: dict[str, int] = {}
    for marker in wanted:
        if marker[:_PREFIX] in met and marker in text:
            found[marker] = text.count(marker)
            text = text.replace(marker, "\n")
    return found


def is_full(found: dict[str, int], tokens: int) -> bool:
    """Whether a text of so many tokens has enough markers for its reader to mean them."""
    return sum(found.values()) >= min(_MANY, max(1, tokens // _PER_TOKENS))


def notice(origin: str, found: dict[str, int]) -> str:
    """One line on the markers found in what `origin` names."""
    often = sorted(found.items(), key=lambda item: -item[1])
    said = [f"{quoted(marker)} {count} time{'s' * (count > 1)}" for marker, count in often[:_SHOWN]]
    more = f" and {len(often) - _SHOWN} more" if len(often) > _SHOWN else ""
    return f"{origin}: holds {', '.join(said)}{more}, read as letters; --special reads them as tokens"

"""Special tokens in a text, such as <|im_end|>, which are read as letters unless `--special` is set."""

from quantize_cli.formats.quoted import quoted
from quantize_cli.tokenizers import Tokenizer

_MANY, _PER_TOKENS = 10, 1000
_PREFIX = 3
_SHOWN = 3


def count_control_tokens(text: str, tokenizer: Tokenizer) -> dict[str, int]:
    """How often each control token occurs in `text`, by name; of overlapping ones the longest counts."""
    control_tokens = [marker for marker, token in tokenizer.special_tokens if token in tokenizer.control_ids]
    # Thousands of unused tokens share a prefix, which few texts have.
    met = {prefix for prefix in {marker[:_PREFIX] for marker in control_tokens} if prefix in text}
    counts: dict[str, int] = {}
    for marker in control_tokens:
        if marker[:_PREFIX] in met and marker in text:
            counts[marker] = text.count(marker)
            text = text.replace(marker, "\n")
    return counts


def is_worth_a_notice(counts: dict[str, int], tokens: int) -> bool:
    """Whether a text of so many tokens has so many special tokens that they are probably meant as such."""
    return sum(counts.values()) >= min(_MANY, max(1, tokens // _PER_TOKENS))


def control_token_notice(origin: str, counts: dict[str, int]) -> str:
    """One line on the special tokens in the text that `origin` names."""
    often = sorted(counts.items(), key=lambda item: -item[1])
    listed = [f"{quoted(marker)} {count} time{'s' * (count > 1)}" for marker, count in often[:_SHOWN]]
    more = f" and {len(often) - _SHOWN} more" if len(often) > _SHOWN else ""
    return f"{origin}: holds {', '.join(listed)}{more}, read as letters; --special reads them as tokens"

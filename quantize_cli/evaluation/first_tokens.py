"""The first tokens of a long text, without those of all of it.

A text may be cut in front of a space between two letters if no token holds a letter and a space behind it: merges then
never cross the cut, and no pre-tokenizer looks past the space. What is in front has the tokens that the whole gives it.
"""

import re

from quantize_cli.tokenizers import Tokenizer

_CUT, _ACROSS = re.compile("(?<=[A-Za-z]) (?=[A-Za-z])"), re.compile(rb"[A-Za-z] ")
_LETTERS = 6
"""Per token, looked at first: more than most texts have."""
_WORTHWHILE = 4
"""Times as long a text must be for its start to be looked for."""


def start_of(text: str, tokens: int, tokenizer: Tokenizer, special: bool = False) -> tuple[str, list[int]]:
    """A start of `text` of at least so many tokens, and its tokens; all of it if it has no more or cannot be cut.

    `special` reads control tokens as such. The token that begins every text counts.
    """
    size = tokens * _LETTERS
    if len(text) >= _WORTHWHILE * size and _ACROSS.search(b"\0".join(tokenizer.pieces)) is None:
        while (cut := _CUT.search(text, size)) is not None:
            start = text[: cut.start()]
            found = tokenizer.encode(start, parse_special=special)
            if len(found) >= tokens:
                return start, found
            size *= 2
    return text, tokenizer.encode(text, parse_special=special)

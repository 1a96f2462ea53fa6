"""Patterns on names of tensors that match nothing, and what was perhaps meant: a regular expression, a part of a name.

Ours are globs on the whole name (* any text, ? one character); those of llama-quantize are regular expressions that
may match anywhere in it.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from quantize_cli.formats.quoted import quoted

_GROUP = re.compile(r"\([^()]*\)(?:[*+?]|\{[^}]*\})?")
_REPEATED = re.compile(r"(?:\\[dwDWsS]|\[[^\]]*\]|\.)(?:[*+?]|\{[^}]*\})")
_CLASS, _ESCAPED, _STARS = re.compile(r"\\[dw]"), re.compile(r"\\(.)"), re.compile(r"\*\*+")
_LAYER = re.compile(r"blk\.\d{1,9}\.")
_ANY = "\0"
"""What stands for any text until single dots are read."""
_NEAR = 0.5
_LONGEST = 200
"""Characters of a pattern that is looked at."""


def advice(pattern: str, names: Sequence[str]) -> str:
    """What to try in place of a pattern that matches none of `names`."""
    for glob in _meant(pattern[:_LONGEST]):
        count = sum(fnmatchcase(name, glob) for name in names)
        if count:
            return f"patterns are globs on whole names: {quoted(glob)} matches {count}"
    known = [*dict.fromkeys(_LAYER.sub("blk.*.", name) for name in names), *names]
    near = get_close_matches(pattern[:_LONGEST], known, 1, _NEAR) or known[:1]
    such = f", such as {quoted(near[0])}" if near else ""
    return f"patterns are globs on whole names{such}"


def _meant(pattern: str) -> Iterable[str]:
    """Globs that match what it matches as a regular expression, or a little more: the whole name, then a part."""
    for part in [pattern, *(pattern.split("|") if "|" in pattern else [])]:
        glob = _as_glob(part.removeprefix("^").removesuffix("$"))
        yield glob
        yield _STARS.sub("*", f"{'' if part.startswith('^') else '*'}{glob}{'' if part.endswith('$') else '*'}")


def _as_glob(expression: str) -> str:
    count = 1
    while count:  # from the innermost group out
        expression, count = _GROUP.subn(_ANY, expression)
    glob = _REPEATED.sub("*", expression)
    glob = _ESCAPED.sub(r"\1", _CLASS.sub("?", glob)).replace("[^", "[!").replace(_ANY, "*")
    return _STARS.sub("*", glob)

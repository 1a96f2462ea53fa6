"""Text that is YAML, TOML or a template, spoiled by its lines and its words."""

import re
from random import Random

from tests.fuzz import spoil_bytes

_ODD = (
    "!!int ''", "!!int x", "!!bool x", "!!float ''", "!!float .", "!!timestamp x", "!!binary '*'",
    "!!python/name:os.x", "!!set {a}", "!!omap [a]", "!!pairs x", "!!null x", "!x y", "&a [*a]", "*a", "2001-99-99",
    "0x", "0b2", "-0o9", ".nan", ".inf", "1e999", "1_0:99:99", "~", "null", "'", '"', '"\\ud800"', '"\\x"', "\t",
    "---", "...", "{", "}", "[" * 2000, "[", "? a", "<<: *a", "- no", "|", ">", "%YAML 9", "\u2028", "\0", "\x85",
    "9" * 5000, "q9_z", "nan", "inf", "true", "1979-05-27", "[[rule]]", "rule = 1", "{{ x",
    "{% for i in range(999999999) %}{% endfor %}", "{{ 'x' * 999999999 }}", "{{ messages[9].a.b }}",
    "{{ 10 ** 10 ** 10 }}", "{{ 1/0 }}", "{% if %}", "{{ x() }}", "\N{ZERO WIDTH SPACE}", "é",
)  # fmt: skip
_BOMB = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 8)}]\n" for i in range(9)
)
_WORD = re.compile(r"[\w.+/-]+")


def spoil(data: bytes, random: Random) -> bytes:
    """The text with one to four lines or words of it changed; sometimes no text any more."""
    lines = data.decode().splitlines(keepends=True)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        lines[at : at + 1] = _changed(lines[at], random)
    spoiled = "".join(lines).encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        spoiled = "".join(lines).encode("latin-1", "replace") + b"\xe9"
    return spoil_bytes.spoil(spoiled, random) if random.random() < 0.1 else spoiled


def _changed(line: str, random: Random) -> list[str]:
    """What stands in the place of a line."""
    action = random.randrange(6)
    if action == 0:
        return []
    if action == 1:
        return [line] * random.choice((2, 50))
    if action == 2:
        return [line, random.choice((random.choice(_ODD), _BOMB, "x: " + random.choice(_ODD))) + "\n"]
    words = list(_WORD.finditer(line))
    if words and action < 5:
        word = random.choice(words)
        return [line[: word.start()] + random.choice(_ODD) + line[word.end() :]]
    at = random.randrange(len(line) + 1)
    return [line[:at] + random.choice(_ODD) + line[at:]]

"""Text from a file, made safe for a message."""

_SHOWN_CHARACTERS = 100


def quoted(text: str) -> str:
    """`text` in quotes on one line: control and invisible characters are escaped, and a long text is cut."""
    if len(text) <= _SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:_SHOWN_CHARACTERS]!r}... ({len(text)} characters)"

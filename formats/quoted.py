"""Text from a file, made fit to stand in a message."""

_SHOWN_CHARACTERS = 100


def quoted(text: str) -> str:
    """`text` in quotes on one line: what a terminal would obey or hide is escaped, and the end cut if it is long."""
    if len(text) <= _SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:_SHOWN_CHARACTERS]!r}... ({len(text)} characters)"

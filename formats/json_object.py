"""JSON objects in files, read without trust."""

import json
from collections import Counter
from typing import Any

from formats.errors import FormatError
from formats.mistaken import encoding_of
from formats.quoted import quoted


def parse_object(source: str, text: bytes, unique_keys: bool = False) -> dict[str, Any]:
    """The JSON object that UTF-8 `text` spells; FormatError naming `source` when it spells anything else.

    With `unique_keys` an object that says a key twice is refused, as two readers may disagree on which counts;
    without, the last one counts, as it does in the libraries checkpoints are made with. A mark of UTF-8 in front,
    which editors of Windows leave, says nothing and is passed over.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    if encoding := encoding_of(text):
        raise FormatError(f"{source}: {encoding[0]}, not utf-8", hint=encoding[1])

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            name, count = Counter(name for name, _ in pairs).most_common(1)[0]
            raise FormatError(f"{source}: key {quoted(name)} occurs {count} times")
        return found

    try:
        found = json.loads(text.decode(), object_pairs_hook=refuse_duplicates if unique_keys else None)
    except FormatError:
        raise
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: not utf-8 at byte {error.start} of {len(text)}") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"{source}: not json at character {error.pos}: {error.msg.lower()}") from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and brackets nested thousands deep.
        raise FormatError(f"{source}: not json that can be read: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{source}: a json {type(found).__name__}, not an object")
    return found

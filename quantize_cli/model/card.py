"""The front matter of a model card: the YAML between two lines of dashes at the head of README.md."""

from typing import Any

import yaml

MAX_NBYTES = 1 << 20
"""The longest front matter that is read: several times the longest known, with all its benchmark results."""
_MAX_NODES = 30_000
_MAX_DEPTH = 32
_MARK_OF_UTF8 = b"\xef\xbb\xbf"
_NULL = "tag:yaml.org,2002:null"
_KNOWN_TAGS = "tag:yaml.org,2002:"


class CardError(ValueError):
    """The front matter cannot be read."""


def front_matter(readme: bytes) -> dict[str, Any]:
    """The card's keys, {} when there are none; CardError when they cannot be read.

    Every value is text, a list or a dict. So the language `no` is not false, and version 1.10 is not 1.1, as it is in
    llama.cpp's converter. A tab counts as two spaces, as it does there. `readme` may end after the front matter, and
    only the front matter must be UTF-8.
    """
    lines = readme[: MAX_NBYTES + 1].removeprefix(_MARK_OF_UTF8).splitlines()
    if not lines or lines[0] != b"---":
        return {}
    end = lines.index(b"---", 1) if b"---" in lines[1:] else len(lines)
    if end == len(lines) and len(readme) > MAX_NBYTES:
        raise CardError(f"it is longer than {MAX_NBYTES} bytes")
    block = b"\n".join(lines[1:end]) + b"\n"
    try:
        node = _Composer(block.decode().replace("\t", "  ")).get_single_node()
        document = None if node is None else _plain(node)
    except UnicodeError as error:
        raise CardError(f"not utf-8 at byte {getattr(error, 'start', 0)}") from error
    except yaml.YAMLError as error:
        raise CardError(type(error).__name__) from error
    return document if isinstance(document, dict) else {}


class _Composer(yaml.SafeLoader):
    """Composes YAML with limits: no aliases, which turn a line into a million values, and no deep nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise CardError("it has an alias")
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES or self._depth > _MAX_DEPTH:
            raise CardError(f"it has more than {_MAX_NODES} values or {_MAX_DEPTH} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _plain(node: yaml.Node) -> Any:
    """A node as text, None, a list or a dict; no tag constructs an object."""
    if not node.tag.startswith(_KNOWN_TAGS) or ":python" in node.tag:
        raise CardError(f"it has the tag {node.tag[:40]!r}")
    if isinstance(node, yaml.ScalarNode):
        # YAML can escape half of a surrogate pair, which no file can hold.
        node.value.encode()
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return {_plain(key): _plain(value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}

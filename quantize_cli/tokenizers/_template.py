"""Chat templates: where checkpoints keep them."""

import string
from dataclasses import replace
from typing import Any

from formats.checkpoint import Checkpoint
from formats.gguf.layout import Value, ValueType, array, text

_SAFE = frozenset(string.ascii_letters + string.digits)
_MORE = "additional_chat_templates"


def chat_templates(checkpoint: Checkpoint, tokenizer_config: dict[str, Any]) -> dict[str, Value]:
    """The `tokenizer.chat_template*` keys: one template, or a default and others by name.

    tokenizer_config.json is believed first, then chat_template.jinja, then chat_template.json.
    """
    stated = tokenizer_config.get("chat_template") or _template_files(checkpoint)
    if isinstance(stated, str):
        return {"tokenizer.chat_template": text(stated)}
    found: dict[str, Value] = {}
    names = []
    for choice in stated if isinstance(stated, list) else []:
        name, template = _named(choice)
        if not name or not template:
            continue
        if name == "default":
            found["tokenizer.chat_template"] = text(template)
        else:
            found[f"tokenizer.chat_template.{name}"] = text(template)
            names.append(name)
    if names:
        found["tokenizer.chat_templates"] = array(ValueType.STRING, sorted(set(names)))
    return found


def _named(choice: Any) -> tuple[str, str]:
    """A choice's name as a key may hold it, and its template; "" for what is missing."""
    if not isinstance(choice, dict):
        return "", ""
    name, template = choice.get("name"), choice.get("template")
    if not isinstance(name, str) or not isinstance(template, str):
        return "", ""
    return "".join(letter if letter in _SAFE else "_" for letter in name), template


def _template_files(checkpoint: Checkpoint) -> str | list[dict[str, str]] | Any:
    main = checkpoint.text("chat_template.jinja")
    if main is None:
        return (checkpoint.json("chat_template.json") or {}).get("chat_template")
    folder = checkpoint.directory / _MORE
    others = sorted(folder.glob("*.jinja")) if folder.is_dir() and not folder.is_symlink() else []
    if not others:
        return _unix(main)
    inside = replace(checkpoint, directory=folder)
    more = [{"name": path.stem, "template": _unix(inside.text(path.name) or "")} for path in others]
    return [{"name": "default", "template": _unix(main)}, *more]


def _unix(characters: str) -> str:
    """Lines end as they do in memory, whatever system wrote the file."""
    return characters.replace("\r\n", "\n").replace("\r", "\n")

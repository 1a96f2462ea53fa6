"""Chat templates: where checkpoints keep them."""

import string
from dataclasses import replace
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, ValueType, array, text

_SAFE = frozenset(string.ascii_letters + string.digits)
_MAIN = "chat_template.jinja"
_MORE = "additional_chat_templates"
_CONFIG = "tokenizer_config.json"
_OF_PROCESSORS = "chat_template.json"
_DEFAULT = "default"


def chat_templates(checkpoint: Checkpoint) -> dict[str, Value]:
    """The `tokenizer.chat_template*` keys: one template, or a default and others by name.

    Files of their own are believed first, then tokenizer_config.json, as in transformers, then chat_template.json,
    which is for processors of more than text. llama.cpp's converter believes tokenizer_config.json before the files,
    where a training that saves the files leaves an older template.
    """
    templates = next((found for _, found in _sources(checkpoint) if found), {})
    found: dict[str, Value] = {}
    names = []
    for name, template in templates.items():
        if name == _DEFAULT:
            found["tokenizer.chat_template"] = text(template)
        else:
            safe = "".join(letter if letter in _SAFE else "_" for letter in name)
            found[f"tokenizer.chat_template.{safe}"] = text(template)
            names.append(safe)
    if names:
        found["tokenizer.chat_templates"] = array(ValueType.STRING, sorted(set(names)))
    return found


def template_warnings(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Which source of chat templates goes before another that says something else."""
    sources = [(name, found) for name, found in _sources(checkpoint) if found]
    return tuple(
        f"{checkpoint.directory}: {sources[0][0]} and {name} have different chat templates, the first is taken"
        for name, found in sources[1:]
        if any(_unix(template) != _unix(sources[0][1].get(called, template)) for called, template in found.items())
    )


def _sources(checkpoint: Checkpoint) -> list[tuple[str, dict[str, str]]]:
    """Where templates may be, the first believed first, and by name the templates that are there."""
    config, other = (checkpoint.json(name) or {} for name in (_CONFIG, _OF_PROCESSORS))
    return [
        (_MAIN, _files(checkpoint)),
        (_CONFIG, _named(config.get("chat_template"))),
        (_OF_PROCESSORS, _named(other.get("chat_template"))),
    ]


def _named(stated: Any) -> dict[str, str]:
    """A template, a list of {name, template}, or templates by name; what is neither is left out."""
    if isinstance(stated, str):
        stated = {_DEFAULT: stated}
    if isinstance(stated, list):
        choices = [choice for choice in stated if isinstance(choice, dict) and isinstance(choice.get("name"), str)]
        stated = {choice["name"]: choice.get("template") for choice in choices}
    pairs = stated.items() if isinstance(stated, dict) else ()
    return {name: template for name, template in pairs if name and isinstance(template, str) and template}


def _files(checkpoint: Checkpoint) -> dict[str, str]:
    """chat_template.jinja, and those in a folder beside it, by name."""
    found = {_DEFAULT: _unix(checkpoint.text(_MAIN) or "")}
    folder = checkpoint.directory / _MORE
    if folder.is_dir() and not folder.is_symlink():
        inside = replace(checkpoint, directory=folder)
        found |= {path.stem: _unix(inside.text(path.name) or "") for path in sorted(folder.glob("*.jinja"))}
    return {name: template for name, template in found.items() if template}


def _unix(characters: str) -> str:
    """Lines end as they do in memory, whatever system wrote the file."""
    return characters.replace("\r\n", "\n").replace("\r", "\n")

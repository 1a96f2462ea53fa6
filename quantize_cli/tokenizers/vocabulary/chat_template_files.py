"""Chat templates in the files of a checkpoint."""

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

    Template files count first, then tokenizer_config.json, as in transformers, then chat_template.json of multimodal
    processors. llama.cpp's converter reads tokenizer_config.json first, where a training that saves template files
    leaves an older template.
    """
    templates = next((templates for _, templates in _sources(checkpoint) if templates), {})
    keys: dict[str, Value] = {}
    names = []
    for name, template in templates.items():
        if name == _DEFAULT:
            keys["tokenizer.chat_template"] = text(template)
        else:
            safe = "".join(letter if letter in _SAFE else "_" for letter in name)
            keys[f"tokenizer.chat_template.{safe}"] = text(template)
            names.append(safe)
    if names:
        keys["tokenizer.chat_templates"] = array(ValueType.STRING, sorted(set(names)))
    return keys


def template_warnings(checkpoint: Checkpoint) -> tuple[str, ...]:
    """A warning for each source whose chat templates differ from those that are used."""
    sources = [(file, templates) for file, templates in _sources(checkpoint) if templates]
    return tuple(
        f"{checkpoint.directory}: {sources[0][0]} and {file} have different chat templates, the first is taken"
        for file, templates in sources[1:]
        if any(_unix(template) != _unix(sources[0][1].get(name, template)) for name, template in templates.items())
    )


def _sources(checkpoint: Checkpoint) -> list[tuple[str, dict[str, str]]]:
    """The sources in the order in which they count, with their templates by name."""
    config, other = (checkpoint.json(name) or {} for name in (_CONFIG, _OF_PROCESSORS))
    return [
        (_MAIN, _files(checkpoint)),
        (_CONFIG, _named(config.get("chat_template"))),
        (_OF_PROCESSORS, _named(other.get("chat_template"))),
    ]


def _named(templates: Any) -> dict[str, str]:
    """From a template, a list of {name, template}, or templates by name; anything else is left out."""
    if isinstance(templates, str):
        templates = {_DEFAULT: templates}
    if isinstance(templates, list):
        choices = [choice for choice in templates if isinstance(choice, dict) and isinstance(choice.get("name"), str)]
        templates = {choice["name"]: choice.get("template") for choice in choices}
    pairs = templates.items() if isinstance(templates, dict) else ()
    return {name: template for name, template in pairs if name and isinstance(template, str) and template}


def _files(checkpoint: Checkpoint) -> dict[str, str]:
    """chat_template.jinja, and those in a folder beside it, by name."""
    templates = {_DEFAULT: _unix(checkpoint.text(_MAIN) or "")}
    folder = checkpoint.directory / _MORE
    if folder.is_dir() and not folder.is_symlink():
        inside = replace(checkpoint, directory=folder)
        templates |= {path.stem: _unix(inside.text(path.name) or "") for path in sorted(folder.glob("*.jinja"))}
    return {name: template for name, template in templates.items() if template}


def _unix(characters: str) -> str:
    """The text with the line ends of Unix."""
    return characters.replace("\r\n", "\n").replace("\r", "\n")

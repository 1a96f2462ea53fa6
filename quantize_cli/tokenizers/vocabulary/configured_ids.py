"""Token ids in the configuration files of a checkpoint, with warnings for invalid ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.quoted import quoted

_FILES = ("config.json", "generation_config.json")
_INNER = "text_config"
"""Multimodal models keep the settings of their text model here."""


@dataclass
class ConfiguredIds:
    """Valid ids, and warnings for the others."""

    first: dict[str, int] = field(default_factory=dict)
    """By kind, the id in config.json, or the first of its list."""
    ends: list[int] = field(default_factory=list)
    """All ids of end tokens in any file, in their order."""
    warnings: list[str] = field(default_factory=list)


def configured_ids(checkpoint: Checkpoint, kinds: Sequence[str], vocabulary: int) -> ConfiguredIds:
    """The ids of special tokens of these kinds in a vocabulary of that size; "eos" may be a list."""
    configured = ConfiguredIds()
    for file, config in _configs(checkpoint):
        # generation_config.json decides only the end tokens.
        for kind in kinds if file == _FILES[0] else ("eos",):
            ids, problem = _ids(config.get(f"{kind}_token_id"), vocabulary)
            if problem:
                where = f"{checkpoint.directory}/{file}: {kind}_token_id"
                configured.warnings.append(f"{where} {problem}, which is ignored")
            if ids and file == _FILES[0]:
                configured.first.setdefault(kind, ids[0])
            if kind == "eos":
                configured.ends += [number for number in ids if number not in configured.ends]
    return configured


def _configs(checkpoint: Checkpoint) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for file in _FILES:
        config = checkpoint.json(file) or {}
        yield file, config
        if isinstance(config.get(_INNER), dict):
            yield file, config[_INNER]


def _ids(value: Any, vocabulary: int) -> tuple[list[int], str]:
    """The valid ids, each once, and what is wrong with the first invalid one."""
    problem = ""
    ids: dict[int, None] = {}
    for number in value if isinstance(value, list) else [] if value is None else [value]:
        if type(number) is int and 0 <= number < vocabulary:
            ids[number] = None
        elif not problem:
            problem = f"holds {_shown(number)}, no id of a vocabulary of {vocabulary} tokens"
    return list(ids), problem


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    return quoted(value) if isinstance(value, str) else quoted(str(value)).replace("'", "")

"""What adapter_config.json says of ranks and scales (peft.LoraConfig), and what it asks for that we do not do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import count, number, spelled, switch
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.json_object import read_object

CONFIG = "adapter_config.json"
_NAME = re.compile(r"\^?[\w.]+")
"""A pattern that is a name, or the end of one. Any other is a regular expression, which is not run on trust."""
_UNSUPPORTED = (
    "use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "alora_invocation_tokens",
    "target_parameters", "use_bdlora", "arrow_config", "layer_replication",
)  # fmt: skip
"""Keys that change what is computed. Null, false and nothing in a list leave them out."""


@dataclass(frozen=True)
class PeftConfig:
    """Ranks and alphas by module."""

    path: Path
    default_rank: int
    default_alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    by_root: bool
    """Terms are divided by the root of the rank (rsLoRA, Kalajdzievski 2023), not by the rank."""

    def rank(self, module: str) -> int:
        return self.ranks.get(_key(self.ranks, module), self.default_rank)

    def alpha(self, module: str) -> float:
        """What is divided by the rank."""
        alpha = self.alphas.get(_key(self.alphas, module), self.default_alpha)
        return alpha * sqrt(self.rank(module)) if self.by_root else alpha


def read_config(directory: Path) -> PeftConfig:
    """The config in a directory; InputError for what is not a LoRA adapter, or asks for more than one."""
    path = directory / CONFIG
    if not path.is_file():
        raise FormatError(f"{directory}: no {CONFIG}, so no adapter", hint="name a directory that peft saved")
    config = read_object(path, unique_keys=False)
    try:
        return _config(path, config)
    except InputError as error:
        raise InputError(str(error).replace("config.json", str(path), 1), error.hint) from error


def _config(path: Path, config: Mapping[str, Any]) -> PeftConfig:
    if config.get("peft_type") != "LORA":
        raise InputError(f"config.json: peft_type {spelled(config.get('peft_type'))}, only 'LORA' is supported")
    for key in _UNSUPPORTED:
        if config.get(key):
            raise InputError(
                f"config.json: key '{key}' is {spelled(config[key])}, which is not supported",
                hint="merge_and_unload() of peft merges such an adapter",
            )
    if config.get("bias", "none") != "none":
        raise InputError(f"config.json: key 'bias' is {spelled(config['bias'])}, trained biases are not supported")
    ranks, alphas = _patterns(config, "rank_pattern"), _patterns(config, "alpha_pattern")
    return PeftConfig(
        path,
        count(config, "r"),
        number(config, "lora_alpha"),
        {key: count(ranks, key) for key in ranks},
        {key: number(alphas, key) for key in alphas},
        switch(config, "use_rslora"),
    )


def _patterns(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    patterns = config.get(key) or {}
    if not isinstance(patterns, dict):
        raise InputError(f"config.json: key '{key}' is {spelled(patterns)}, not an object")
    for pattern in patterns:
        if not _NAME.fullmatch(pattern):
            raise InputError(
                f"config.json: {key} {spelled(pattern)} is a regular expression, only names of modules and their ends "
                "are supported"
            )
    return patterns


def _key(patterns: Mapping[str, object], module: str) -> str:
    """The first pattern that names the module, "" for none; behind "^" stands a whole name."""
    named = (key for key in patterns if module == key.removeprefix("^") or module.endswith(f".{key}"))
    return next(named, "")

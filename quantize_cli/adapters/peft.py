"""Adapters as PEFT saves them: a directory with adapter_config.json and adapter_model.safetensors.

Names are those of modules in transformers: `base_model.model.<module>.lora_A.weight` (rank, columns) and
`.lora_B.weight` (rows, rank); of an embedding `lora_embedding_A` (rank, tokens) and `lora_embedding_B` (width, rank).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.adapters.factors import factors_of, finite
from quantize_cli.adapters.modules import Module, modules
from quantize_cli.adapters.peft_config import CONFIG, PeftConfig, read_config
from quantize_cli.errors import InputError, not_written
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.hub import not_found_error
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard, atomic_files
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.safetensors import read_header
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.source import Model

WEIGHTS = "adapter_model.safetensors"
FILES = (WEIGHTS, CONFIG)
_PREFIX = "base_model.model."
_LINEAR, _LOOKED_UP = (".lora_A", ".lora_B"), (".lora_embedding_A", ".lora_embedding_B")


def read_peft(path: Path, model: Model) -> Adapter:
    """The adapter in a directory that PEFT saved, for `model`; `path` is the directory or a file in it.

    InputError for adapters of other kinds (DoRA, whole modules, patterns that are regular expressions), and for
    modules that the model does not have.
    """
    if not path.exists():
        raise not_found_error(path)
    directory = path if path.is_dir() else path.parent
    config = read_config(directory)
    if not (directory / WEIGHTS).exists() and (directory / "adapter_model.bin").exists():
        raise FormatError(
            f"{directory}: the adapter's weights only as a pickle",
            hint="save it as safetensors first: a pickle can run code, so none is ever loaded",
        )
    source = f"{directory / WEIGHTS}: "
    stored = {_plain(source, tensor.name): tensor for tensor in read_header(directory / WEIGHTS)}
    linear = {name: tensor for name, tensor in stored.items() if not name.endswith(_LOOKED_UP)}
    looked_up = {name: tensor for name, tensor in stored.items() if name.endswith(_LOOKED_UP)}
    known = {module.name: module for module in modules(model).values()}
    terms: dict[str, LowRankTerm] = {}
    for part, endings in ((linear, _LINEAR), (looked_up, _LOOKED_UP)):
        for name in factors_of(source, part, endings) if part else ():
            module = _module(source, name, known)
            terms[module.tensor] = _term(part, name, endings, config, module)
    if not terms:
        raise InputError(f"{source}an adapter without tensors")
    return Adapter(str(model.architecture), terms, str(directory))


def _plain(source: str, name: str) -> str:
    """A tensor's name without what PEFT puts around it: "model.layers.0.self_attn.q_proj.lora_A"."""
    parts = name.removeprefix(_PREFIX).removesuffix(".weight").split(".")
    # A state dict that was saved by hand has the adapter's own name behind the factor's.
    if len(parts) > 1 and f".{parts[-2]}" in (*_LINEAR, *_LOOKED_UP):
        parts.pop()
    if f".{parts[-1]}" not in (*_LINEAR, *_LOOKED_UP):
        raise InputError(
            f"{source}tensor {quoted(name)} is no factor of a low-rank term",
            hint="modules that are saved whole, biases and magnitudes (dora) are not supported: merge_and_unload() of "
            "peft merges them",
        )
    return ".".join(parts)


def _module(source: str, name: str, known: Mapping[str, Module]) -> Module:
    """The module of the model that an adapter calls `name`; a wrapper may have put something before either."""
    if name in known:
        return known[name]
    alike = [module for own, module in known.items() if f".{name}".endswith(f".{own}") or own.endswith(f".{name}")]
    if len(alike) == 1:
        return alike[0]
    raise InputError(
        f"{source}module {quoted(name)} is not in the model, which has {len(known)} that an adapter may change",
        hint="an adapter fits the model that it was trained on; an output that is tied to the embedding has no weights",
    )


def _term(
    stored: Mapping[str, StoredTensor], name: str, endings: tuple[str, str], config: PeftConfig, module: Module
) -> LowRankTerm:
    first, second = (finite(stored[name + ending]) for ending in endings)
    a, b = (second.T, first.T) if endings == _LOOKED_UP else (first, second)
    rank = config.rank(name)
    if (len(a), b.shape[1]) != (rank, rank):
        raise InputError(
            f"{config.path}: module {quoted(name)} is of rank {rank}, its factors have {len(a)} and {b.shape[1]}"
        )
    return LowRankTerm(np.ascontiguousarray(a), np.ascontiguousarray(module.as_in_file(b)), config.alpha(name))


def write_peft(directory: Path, adapter: Adapter, model: Model, guard: OverwriteGuard = MAY_OVERWRITE) -> None:
    """Both files in a directory that is there or is made now; `model` is what the adapter was trained on.

    InputError where nothing says what transformers calls a matrix, OutputError where a file cannot be written.
    """
    from safetensors.numpy import save

    known = modules(model)
    if unnamed := [name for name in adapter.terms if name not in known]:
        raise InputError(
            f"{adapter.origin}: what transformers calls tensor {quoted(unnamed[0])} is not known",
            hint="an adapter in a gguf file names tensors as the model's file does",
        )
    if looked_up := [name for name in adapter.terms if name == "token_embd.weight"]:
        raise InputError(f"{adapter.origin}: tensor {quoted(looked_up[0])} is looked up, not multiplied")
    arrays = {}
    for name, term in adapter.terms.items():
        factors = (term.a, known[name].as_in_transformers(term.b))
        for ending, values in zip(_LINEAR, factors, strict=True):
            arrays[f"{_PREFIX}{known[name].name}{ending}.weight"] = np.ascontiguousarray(values, np.float32)
    config = json.dumps(_config(adapter, known, model), indent=2) + "\n"
    files = {directory / WEIGHTS: save(arrays, {"format": "pt"}), directory / CONFIG: config.encode()}
    try:
        directory.mkdir(exist_ok=True)
        with atomic_files({path: len(data) for path, data in files.items()}, guard) as outputs:
            for path, data in files.items():
                outputs[path].write(data, 0)
    except OSError as error:
        raise not_written(directory, error) from error


def _config(adapter: Adapter, known: Mapping[str, Module], model: Model) -> dict[str, Any]:
    """What PEFT needs to load the adapter: one rank and alpha, and those of the modules that have others."""
    terms = {known[name].name: term for name, term in adapter.terms.items()}
    rank = Counter(term.rank for term in terms.values()).most_common(1)[0][0]
    alpha = Counter(term.alpha for term in terms.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model.path),
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": any(known[name].transposed for name in adapter.terms),
        "inference_mode": True,
        "modules_to_save": None,
        "rank_pattern": {name: term.rank for name, term in terms.items() if term.rank != rank},
        "alpha_pattern": {name: term.alpha for name, term in terms.items() if term.alpha != alpha},
        "target_modules": _targets(list(terms), [module.name for module in known.values()]),
    }


def _targets(chosen: Sequence[str], names: Sequence[str]) -> list[str]:
    """The last parts of the names, where these name no other module of the model; else the whole names."""
    last = {name.rpartition(".")[2] for name in chosen}
    reached = [name for name in names if name.rpartition(".")[2] in last]
    return sorted(last) if sorted(reached) == sorted(chosen) else sorted(chosen)

"""How a checkpoint of sentence-transformers makes one embedding of a text's tokens, as a GGUF file says it."""

from collections.abc import Mapping
from typing import Any

from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.formats.json_object import parse_object
from quantize_cli.formats.quoted import quoted

_FILE = "modules.json"
_MOST_NBYTES = 1 << 20
_TYPES = {"mean": 1, "cls": 2, "lasttoken": 3}
"""By their names in sentence-transformers, llama.cpp's numbers (enum llama_pooling_type)."""
_FLAGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "lasttoken": "pooling_mode_lasttoken"}


def pooling_metadata(checkpoint: Checkpoint, architecture: str) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The pooling type, if the checkpoint says one that GGUF has a number for, and warnings of what else it says.

    FormatError when its files are invalid.
    """
    modules = _modules(checkpoint)
    if not modules:
        return {}, ()
    where = f"{checkpoint.directory}/{_FILE}"
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    warnings = [
        f"{where}: module {quoted(kind)} is not converted, engines give embeddings without it"
        for kind in kinds
        if kind not in ("Transformer", "Pooling", "Normalize")
    ]
    if "Normalize" not in kinds:
        warnings.append(f"{where}: embeddings are not normalised, which a gguf file cannot say: engines normalise them")
    if "Pooling" not in kinds:
        return {}, (*warnings, f"{where}: it does not say how tokens are pooled, state it to the engine")
    folder = str(modules[kinds.index("Pooling")].get("path", ""))
    pooling = checkpoint.json("config.json", folder)
    if pooling is None:
        raise FormatError(f"{where}: the config.json of {quoted(folder)} is missing")
    names = [name for name, key in _FLAGS.items() if pooling.get(key) is True] or [str(pooling.get("pooling_mode"))]
    others = [key for key, truth in pooling.items() if truth is True and _is_mode(key) and key not in _FLAGS.values()]
    if len(names) + len(others) > 1 or names[0] not in _TYPES:
        shown = ", ".join(map(quoted, [*(name for name in names if name != "None"), *others]))
        return {}, (*warnings, f"{where}: pooling by {shown} has no number in a gguf file")
    return {f"{architecture}.pooling_type": u32(_TYPES[names[0]])}, tuple(warnings)


def _is_mode(key: str) -> bool:
    return key.startswith("pooling_mode_")


def _modules(checkpoint: Checkpoint) -> list[Mapping[str, Any]]:
    """The modules in their order, [] without the file."""
    stored = checkpoint.text(_FILE)
    if stored is None:
        return []
    where = f"{checkpoint.directory}/{_FILE}"
    # The file is a list, and what reads files without trust reads objects.
    modules = parse_object(where, f'{{"modules": {stored}}}'.encode(), False, _MOST_NBYTES)["modules"]
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise FormatError(f"{where}: not a list of modules")
    return modules

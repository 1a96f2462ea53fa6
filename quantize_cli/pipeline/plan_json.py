"""A plan as JSON, and back.

It holds the recipe, every step with where its rows come from, the metadata of the file, and the files it is made from
as they were. Every value says what it is by one key: `kind` and the fields of a dataclass, `path`, `dtype`, or `array`
with the bytes in base64. So computed rows (the frequency factors of Llama 3) and the scales of a folded model stand in
it in full, as a vocabulary does. The layout of the file is not printed: it follows from the rest.
"""

import base64
import json
from dataclasses import fields
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from quantize_cli import schemes
from quantize_cli.errors import UsageError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.formats.gguf.layout import Value, ValueType
from quantize_cli.formats.source import FileStamp
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.changed_rows import Merged, Scaled, Shifted
from quantize_cli.model.rows import EachTransposed, EverySecond, PairedHeads, Slab, SlabOfEach, Transposed, Ungrouped
from quantize_cli.model.sources import Dequantized, Held, Repacked
from quantize_cli.model.stacks import Stacked
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.plan import Plan, Step, lay_out_steps
from quantize_cli.pipeline.recipe import Recipe, Rule

_KINDS = (
    Dequantized, EachTransposed, EverySecond, Held, Merged, PairedHeads, Recipe, Repacked, Rule, Scaled, Shifted, Slab,
    SlabOfEach, Stacked, Step, StoredTensor, Tensor, Transposed, Ungrouped, Value,
)  # fmt: skip
_ENUMS = {enum.__name__: enum for enum in (FileType, GgmlType, ValueType)}


@cache
def _kinds() -> dict[str, type]:
    return {kind.__name__: kind for kind in (*_KINDS, *schemes.sources())}


def to_json(plan: Plan) -> str:
    """The plan as JSON, which `from_json` reads back equal."""
    sources = {str(path): list(identity) for path, identity in plan.sources.items()}
    document = {"recipe": plan.recipe, "steps": plan.steps, "metadata": dict(plan.metadata), "sources": sources}
    return json.dumps(_plain(document), indent=1)


def from_json(text: str) -> Plan:
    """The plan that `to_json` prints; UsageError for what is none."""
    try:
        document = _value(json.loads(text))
        sources = {Path(path): FileStamp(*identity) for path, identity in document["sources"].items()}
        return lay_out_steps(document["recipe"], document["steps"], document["metadata"], sources)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError) as error:
        raise UsageError(f"plan: not one that was printed: {type(error).__name__.lower()} {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, IntEnum):
        return {type(value).__name__: value.name}
    if type(value).__name__ in _kinds():
        return {"kind": type(value).__name__} | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {"items": {key: _plain(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, np.ndarray):
        return {
            "array": base64.b64encode(value.tobytes()).decode(),
            "shape": list(value.shape),
            "element": _plain(value.dtype),
        }
    return value.item() if isinstance(value, np.generic) else value


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return tuple(_value(item) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if "kind" in plain:
        return _kinds()[plain["kind"]](**{name: _value(item) for name, item in plain.items() if name != "kind"})
    if "items" in plain:
        return {key: _value(item) for key, item in plain["items"].items()}
    if "path" in plain:
        return Path(plain["path"])
    if "dtype" in plain:
        return np.dtype(getattr(ml_dtypes, plain["dtype"], plain["dtype"]))
    if "array" in plain:
        stored = np.frombuffer(base64.b64decode(plain["array"]), _value(plain["element"]))
        return stored.reshape(plain["shape"])
    ((enum, name),) = plain.items()
    return _ENUMS[enum][name]

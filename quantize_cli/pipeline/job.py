"""A job: everything a person asked for of one conversion, as one value that prints as JSON or TOML and reads back."""

import json
import sys
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

import tomli_w

from quantize_cli.errors import UsageError
from quantize_cli.formats.quoted import quoted
from quantize_cli.pipeline import recipe
from quantize_cli.pipeline.recipe import BITS, Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SEARCHES = ("reference", "best")
_DEFAULT_BITS = 4
_PATHS = ("source", "output", "recipe", "imatrix", "certify")
_KINDS: dict[str, tuple[type, ...]] = {
    "bits": (int,), "context": (int,), "chunks": (int,), "threads": (int,), "bits_per_weight": (int, float),
    "pure": (bool,), "special": (bool,), "requantize": (bool,),
}  # fmt: skip
"""Of the fields that are no text: what a table may hold for them."""


@dataclass(frozen=True)
class Job:
    """What is to be made of what. Each field is an option of `quantize convert`; what is not said is left to it."""

    source: Path
    output: Path | None = None
    bits: int | None = None
    type: str | None = None
    recipe: Path | None = None
    pure: bool = False
    tensors: tuple[str, ...] = ()
    """`GLOB=TYPE` each."""
    imatrix: Path | None = None
    texts: tuple[Path, ...] = ()
    """To calibrate on."""
    methods: tuple[str, ...] = ()
    search: str = "reference"
    context: int | None = None
    """Tokens of a chunk of the texts."""
    chunks: int | None = None
    """Of each text, at most."""
    special: bool = False
    """Control tokens in the texts are read as such."""
    size: str | None = None
    """A budget: bytes of the whole file, as `4.5GB`."""
    bits_per_weight: float | None = None
    """A budget in bits."""
    fits: str | None = None
    """A budget: memory to run in."""
    types: tuple[str, ...] = ()
    """That a budget may choose; none for what is best."""
    requantize: bool = False
    split_size: str | None = None
    settings: tuple[str, ...] = ()
    """`KEY=VALUE` each, metadata to write."""
    lora: tuple[str, ...] = ()
    """`PATH[:SCALE]` each: adapters that are merged into the source."""
    certify: Path | None = None
    """A text to certify the file on."""
    threads: int | None = None

    @property
    def has_budget(self) -> bool:
        return any(budget is not None for budget in (self.size, self.bits_per_weight, self.fits))

    @property
    def is_plain(self) -> bool:
        """Whether it is done by the weights alone, or by an importance matrix: no model is run."""
        numbers = (self.context, self.chunks)
        asked = any((self.texts, self.methods, self.types, self.special, self.has_budget))
        return not asked and all(number is None for number in numbers) and self.search == SEARCHES[0]

    @property
    def adapters(self) -> tuple[tuple[Path, float], ...]:
        """The paths of adapters, each with what its terms are multiplied by; UsageError for a scale that is none."""
        return tuple(map(_adapter, self.lora))

    @property
    def inputs(self) -> tuple[Path | None, ...]:
        """What the job reads."""
        return (self.source, *(path for path, _ in self.adapters), self.recipe, self.imatrix, *self.texts, self.certify)

    def table(self) -> dict[str, Any]:
        """The fields that say anything, as JSON and TOML can hold them."""
        values = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "source" or value != field.default:
                values[field.name] = _plain(value)
        return values

    def to_json(self) -> str:
        return json.dumps(self.table(), ensure_ascii=False, indent=1)

    def to_toml(self) -> str:
        return tomli_w.dumps(self.table())


def from_table(table: dict[str, Any]) -> Job:
    """The job that `Job.table` describes; UsageError for what is none."""
    known = {field.name: field.default for field in fields(Job)}
    if unknown := sorted(set(table) - set(known)):
        raise UsageError(f"job: unknown field {quoted(unknown[0])}", hint="known: " + ", ".join(known))
    if "source" not in table:
        raise UsageError("job: no 'source'")
    return Job(**{name: _typed(name, value) for name, value in table.items()})


def from_json(text: str) -> Job:
    """The job that `Job.to_json` prints; UsageError for what is none."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"job: not json: {str(error).lower()}") from error
    if not isinstance(table, dict):
        raise UsageError(f"job: a json {type(table).__name__}, not an object")
    return from_table(table)


def from_toml(text: str) -> Job:
    """The job that `Job.to_toml` prints; UsageError for what is none."""
    try:
        return from_table(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"job: not toml: {str(error).lower()}") from error


def chosen_recipe(job: Job) -> Recipe:
    """The recipe asked for; UsageError when two are, or bits there is no mix for."""
    choices = (("--bits", job.bits), ("--type", job.type), ("--recipe", job.recipe))
    options = [name for name, value in choices if value is not None]
    if job.has_budget:
        options.append("a budget")
    if len(options) > 1:
        raise UsageError(f"{options[0]} and {options[1]} both choose the recipe", hint="give one of them")
    if job.bits is not None and job.bits not in BITS:
        raise UsageError(f"--bits {job.bits}: not one of {', '.join(map(str, BITS))}")
    if job.recipe is not None:
        chosen = recipe.from_file(job.recipe, job.pure)
    else:
        chosen = recipe.named(BITS[job.bits or _DEFAULT_BITS] if job.type is None else job.type, job.pure)
    by_hand = tuple(recipe.override(text) for text in job.tensors)
    return replace(chosen, overrides=(*by_hand, *chosen.overrides))


def _adapter(text: str) -> tuple[Path, float]:
    path, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        factor = float(scale)
    except ValueError:
        return Path(text), 1.0
    if not path or not isfinite(factor):
        raise UsageError(f"--lora {quoted(text)}: not PATH or PATH:SCALE", hint="--lora DIR:0.5 merges half of it")
    return Path(path), factor


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _typed(name: str, value: Any) -> Any:
    """A field's value as the dataclass has it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(map(Path, value)) if name == "texts" else tuple(value)
    if type(value) not in _KINDS.get(name, (str,)):
        raise UsageError(f"job: {name} = {quoted(str(value))} is of a kind that it cannot have")
    return Path(value) if name in _PATHS else value

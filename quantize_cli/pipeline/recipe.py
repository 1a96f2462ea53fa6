"""Which type each tensor gets: ordered rules, the first match wins, read from TOML."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from quantize_cli.errors import InputError, UsageError
from quantize_cli.formats.ggml import BLOCK_SHAPE, FileType, GgmlType
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.occurrences import Occurrence, occurrences
from quantize_cli.pipeline.roles import ROLES, ModelFacts, facts_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BITS = {16: "f16", 8: "q8_0", 6: "q6_k", 5: "q5_k_m", 4: "q4_k_m"}
"""What `--bits` stands for."""

KEEP = "keep"
"""The recipe that rounds nothing it can help: what other tools quantized gets blocks that hold the same weights."""


def _ends_and_thirds(i: int, n: int) -> bool:
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


_LAYERS: dict[str, Callable[[int, int], bool]] = {
    "first_eighth": lambda i, n: i < n // 8,
    "first_sixteenth": lambda i, n: i < n // 16,
    "first_2": lambda i, n: i < 2,
    "first_4": lambda i, n: i < 4,
    "first_eighth_met": lambda i, n: i < n // 8,
    "middle": lambda i, n: n // 8 <= i < 7 * n // 8,
    "ends_and_thirds": _ends_and_thirds,
}
"""Named parts of a stack of n layers. `ends_and_thirds` is llama.cpp's use_more_bits.

`first_eighth_met` counts tensors as they are met even in a mixture of experts, where the others go by layer number.
"""


@dataclass(frozen=True)
class Rule:
    """One line of a recipe: a type, and all that must hold for it."""

    type: GgmlType
    tensors: str
    """One of ROLES, or a pattern on the whole name (* any text, ? one character)."""
    layers: str | None = None
    """One of the named parts of the stack of layers."""
    experts: int | None = None
    experts_at_least: int | None = None
    grouped_heads_at_least: int | None = None
    importance: bool | None = None
    """Whether the tensors come with an importance matrix."""
    architecture: str | None = None
    not_architecture: str | None = None
    seventy_billion: bool | None = None
    fills_blocks: bool | None = None
    """Whether the columns fill blocks of the recipe's default type."""
    dimensions_at_least: int | None = None

    def names(self, tensor: Tensor) -> bool:
        """Whether the pattern matches the tensor's name."""
        return fnmatchcase(tensor.name, self.tensors)

    def holds(
        self, tensor: Tensor, occurrence: Occurrence, facts: ModelFacts, has_importance: bool, fills: bool
    ) -> bool:
        if occurrence.role != self.tensors and not self.names(tensor):
            return False
        index = occurrence.met if self.layers == "first_eighth_met" else occurrence.index
        if self.layers is not None and not _LAYERS[self.layers](index, occurrence.count):
            return False
        equal = (
            (self.experts, facts.experts), (self.importance, has_importance), (self.architecture, facts.architecture),
            (self.seventy_billion, facts.seventy_billion), (self.fills_blocks, fills),
        )  # fmt: skip
        least = (
            (self.experts_at_least, facts.experts), (self.grouped_heads_at_least, facts.grouped_heads),
            (self.dimensions_at_least, len(tensor.shape)),
        )  # fmt: skip
        return (
            all(want is None or want == value for want, value in equal)
            and all(want is None or value >= want for want, value in least)
            and (self.not_architecture is None or self.not_architecture != facts.architecture)
        )

    def __str__(self) -> str:
        conditions = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        return ", ".join([self.tensors, *(f"{key} = {want}" for key, want in conditions.items() if want is not None)])


@dataclass(frozen=True)
class Recipe:
    """A default type, and rules for the tensors that deserve another."""

    name: str
    default: GgmlType
    file_type: FileType
    rules: tuple[Rule, ...] = ()
    overrides: tuple[Rule, ...] = ()
    """Rules given by hand, which go by names alone; they come first, and what they name is not counted by others."""

    keep: bool = False
    """Whether a tensor that no rule names keeps the type it is stored in; those that have none get the default."""

    @property
    def file_name(self) -> str:
        """What a file made with it is called after its model: `Q4_K_M`."""
        return self.name.split(",")[0].upper()

    def choose(
        self, tensors: Sequence[Tensor], metadata: Mapping[str, Value], has_importance: bool
    ) -> dict[str, tuple[GgmlType, str]]:
        """The type of each tensor by name, and why; `tensors` are those to be quantized, in any order."""
        facts = facts_of(metadata, tensors)
        chosen = {}
        by_name = occurrences(tensors, facts, lambda tensor: self._override(tensor) is not None)
        for tensor in tensors:
            fills = tensor.columns % BLOCK_SHAPE[self.default].weights == 0
            rule = self._override(tensor) or next(
                (r for r in self.rules if r.holds(tensor, by_name[tensor.name], facts, has_importance, fills)), None
            )
            kept = tensor.kept_type if self.keep and rule is None else None
            type_ = kept if kept is not None else rule.type if rule else self.default
            why = rule or ("default" if kept is None else "as it is stored")
            chosen[tensor.name] = type_, f"{self.name}: {why}"
        return chosen

    def _override(self, tensor: Tensor) -> Rule | None:
        return next((rule for rule in self.overrides if rule.names(tensor)), None)


# --- where recipes come from -------------------------------------------------------------------------------------


@cache
def presets() -> tuple[str, ...]:
    """The names of the recipes that ship with us, sorted."""
    return tuple(
        sorted(f.name[:-5] for f in resources.files("quantize_cli.configs").iterdir() if f.name.endswith(".toml"))
    )


def named(name: str, pure: bool = False) -> Recipe:
    """A mix by its name, or any block type by its own, which then is what every tensor gets; in any letter case."""
    key = name.lower()
    if key == KEEP:
        return Recipe(KEEP, GgmlType.F16, FileType.GUESSED, keep=True)
    if key in presets():
        recipe = parse(resources.files("quantize_cli.configs").joinpath(f"{key}.toml").read_text(), key)
        return _pure(recipe) if pure else recipe
    try:
        return _uniform(GgmlType[name.upper()])
    except KeyError:
        raise UsageError(
            f"unknown type or mix {quoted(name)}", hint="known mixes: " + ", ".join((*presets(), KEEP))
        ) from None


def from_file(path: Path, pure: bool = False) -> Recipe:
    """A recipe of the user's own; with `pure`, only its default type."""
    try:
        recipe = parse(path.read_text(encoding="utf-8"), path.stem, str(path))
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    return _pure(recipe) if pure else recipe


def _pure(recipe: Recipe) -> Recipe:
    return replace(recipe, name=f"{recipe.name}, pure", rules=(), overrides=())


def override(text: str) -> Rule:
    """A rule from `PATTERN=TYPE`."""
    pattern, equals, name = text.rpartition("=")
    if not (equals and pattern):
        raise UsageError(f"--tensor {quoted(text)}: not of the form PATTERN=TYPE", hint="--tensor '*ffn_down*=q6_k'")
    if not pattern.isascii() and pattern != pattern.encode(errors="replace").decode():
        raise UsageError(f"--tensor {quoted(text)}: not UTF-8, as names of tensors are")
    return Rule(block_type(name, f"--tensor {quoted(text)}"), pattern)


def parse(text: str, name: str, origin: str | None = None) -> Recipe:
    """A recipe from TOML: `default`, an optional `file_type`, and [[rule]] tables whose keys are Rule's.

    [[override]] tables, of a pattern and a type each, are what `--tensor` gives on a command line.
    """
    origin = origin or f"recipe {name}"
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: {str(error).lower()}") from error
    except RecursionError as error:
        raise InputError(f"{origin}: tables or arrays nested too deep") from error
    except ValueError as error:
        raise InputError(f"{origin}: a number of thousands of digits") from error
    _refuse_unknown(document, {"default", "file_type", "keep", "rule", "override"}, origin)
    if not isinstance(document.get("default"), str):
        raise InputError(f"{origin}: no default type", hint='default = "q4_k"')
    rules, overrides = (
        tuple(
            read(table, f"{origin}, {key} {number}") for number, table in enumerate(_tables(document, key, origin), 1)
        )
        for key, read in (("rule", _rule), ("override", _override))
    )
    uniform = _uniform(_stated_type(document["default"], origin))
    file_type = document.get("file_type", uniform.file_type.name)
    if not isinstance(file_type, str) or file_type.upper() not in FileType.__members__:
        raise InputError(f"{origin}: unknown file_type {quoted(str(file_type))}")
    keep = document.get("keep", False)
    if type(keep) is not bool:
        raise InputError(f"{origin}: keep = {quoted(_spelled(keep))} is neither true nor false")
    of = FileType[file_type.upper()]
    return replace(uniform, name=name, file_type=of, rules=rules, overrides=overrides, keep=keep)


def _tables(document: dict[str, Any], key: str, origin: str) -> list[dict[str, Any]]:
    tables = document.get(key, [])
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise InputError(f"{origin}: {key!r} is not a list of tables", hint=f"write [[{key}]] before each {key}")
    return tables


def _override(table: dict[str, Any], origin: str) -> Rule:
    _refuse_unknown(table, {"tensors", "type"}, origin)
    return Rule(_stated_type(_text_of(table, "type", origin), origin), _text_of(table, "tensors", origin))


def _text_of(table: dict[str, Any], key: str, origin: str) -> str:
    if not isinstance(table.get(key), str):
        raise InputError(f"{origin}: no {key!r}")
    value: str = table[key]
    return value


def _rule(table: dict[str, Any], origin: str) -> Rule:
    kinds = {field.name: field.type for field in fields(Rule)}
    _refuse_unknown(table, set(kinds), origin)
    for key in ("tensors", "type"):
        _text_of(table, key, origin)
    for key, value in table.items():
        expected = {"bool | None": bool, "int | None": int}.get(str(kinds[key]), str)
        if type(value) is not expected:
            raise InputError(f"{origin}: {key} = {quoted(_spelled(value))} is not a {expected.__name__}")
    if table.get("layers", "middle") not in _LAYERS:
        raise InputError(f"{origin}: unknown layers {quoted(table['layers'])}", hint="known: " + ", ".join(_LAYERS))
    if table["tensors"] not in ROLES and not set(table["tensors"]) & set("*?[."):
        raise InputError(f"{origin}: unknown tensors {quoted(table['tensors'])}", hint="known: " + ", ".join(ROLES))
    return Rule(**{**table, "type": _stated_type(table["type"], origin)})


def _spelled(value: Any) -> str:
    """A value of a recipe; a number that was hexadecimal may be too long to be spelled in decimal."""
    return f"{value:#x}" if isinstance(value, int) and value.bit_length() > 64 else str(value)


def _stated_type(name: str, origin: str) -> GgmlType:
    """A type that a recipe names: a mistake there is one of the file, not of the command line."""
    try:
        return block_type(name, origin)
    except UsageError as error:
        raise InputError(str(error), error.hint) from error


def _refuse_unknown(table: dict[str, Any], known: set[str], origin: str) -> None:
    if unknown := sorted(set(table) - known):
        raise InputError(f"{origin}: unknown key {quoted(unknown[0])}", hint="known: " + ", ".join(sorted(known)))


def block_type(name: str, origin: str) -> GgmlType:
    """A block type by its name, in any letter case; UsageError that begins with `origin` for an unknown one."""
    if name.upper() not in GgmlType.__members__:
        raise UsageError(f"{origin}: unknown type {quoted(name)}", hint="a block type such as q4_k or f16")
    return GgmlType[name.upper()]


def _uniform(type_: GgmlType) -> Recipe:
    """Every tensor in one type. A type without a file type of its own goes by its small mix, as Q4_K by Q4_K_S."""
    members = FileType.__members__
    file_type = members.get(type_.name) or members.get(f"{type_.name}_S") or FileType.GUESSED
    return Recipe(type_.name.lower(), type_, file_type)

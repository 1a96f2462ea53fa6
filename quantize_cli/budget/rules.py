"""A choice of types as a recipe, with rules as few as say it, and a recipe as the TOML that is read as the same."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields

import tomli_w

from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.model.source import Model
from quantize_cli.pipeline.recipe import Recipe, Rule
from quantize_cli.pipeline.roles import ROLES

_LAYER = re.compile(r"blk\.\d{1,9}\.")
_GLOB = re.compile(r"[*?[]")


def recipe_of(model: Model, types: Mapping[str, GgmlType], name: str) -> Recipe:
    """The recipe that gives the tensors of `model` that are quantized these types, by name.

    Layers that agree on a tensor share a rule; others have rules of their own, in front of that of the majority.
    """
    tensors = [tensor for tensor in model.tensors if tensor.name in types]
    default = _most(types.values()) if types else GgmlType.F16
    merged = Recipe(name, default, FileType.GUESSED, tuple(_rules(types, default)))
    chosen = merged.choose(tensors, model.metadata, has_importance=True)
    if all(chosen[tensor.name][0] is types[tensor.name] for tensor in tensors):
        return merged
    # A name that another's pattern catches: no file of ours has one, but a file may have any names.
    each = tuple(Rule(types[tensor.name], literal(tensor.name)) for tensor in tensors)
    return Recipe(name, default, FileType.GUESSED, each)


def _rules(types: Mapping[str, GgmlType], default: GgmlType) -> list[Rule]:
    groups: dict[str, list[str]] = {}
    for name in types:
        layer = _LAYER.match(name)
        groups.setdefault("blk.*." + literal(name[layer.end() :]) if layer else literal(name), []).append(name)
    rules: list[Rule] = []
    for pattern, names in groups.items():
        usual = _most([types[name] for name in names], default)
        rules += [Rule(types[name], literal(name)) for name in names if types[name] is not usual]
        if usual is not default:
            rules.append(Rule(usual, pattern))
    return rules


def _most(types: Iterable[GgmlType], preferred: GgmlType | None = None) -> GgmlType:
    """The most frequent type; of equals the preferred one, else the first."""
    counts = Counter(types)
    return max(counts, key=lambda type_: (counts[type_], type_ is preferred))


def literal(name: str) -> str:
    """A pattern that matches this name alone, and is not taken for a role."""
    escaped = _GLOB.sub(lambda match: f"[{match[0]}]", name)
    if escaped in ROLES or not set(escaped) & set("*?[."):
        return f"[{escaped[:1]}]{escaped[1:]}"
    return escaped


def to_toml(recipe: Recipe) -> str:
    """The recipe as a file holds it: parsed, it is the same again but for its name."""
    table: dict[str, object] = {"file_type": recipe.file_type.name, "default": recipe.default.name.lower()}
    if recipe.keep:
        table["keep"] = True
    for key, rules in (("override", recipe.overrides), ("rule", recipe.rules)):
        if rules:
            table[key] = [_table(rule) for rule in rules]
    return tomli_w.dumps(table)


def _table(rule: Rule) -> dict[str, str | int]:
    """All that must hold for the rule, and its type."""
    _, *conditions = fields(rule)
    values = {field.name: getattr(rule, field.name) for field in conditions}
    return {name: value for name, value in values.items() if value is not None} | {"type": rule.type.name.lower()}

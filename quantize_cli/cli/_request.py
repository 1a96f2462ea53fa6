"""What a command line asks to be made: source, recipe, importance, and the plan they lead to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quantize_cli import plan, recipe
from quantize_cli.calibrate import imatrix as imatrix_method
from quantize_cli.cli._text import warn
from quantize_cli.errors import UsageError
from quantize_cli.plan import Importance, Plan
from quantize_cli.recipe import BITS, Recipe
from quantize_cli.source import open_model

_DEFAULT_BITS = 4


@dataclass(frozen=True)
class Planned:
    """A plan, what it was made with, and where it goes."""

    plan: Plan
    importance: Importance | None
    output: Path


def planned(source: Path, output: Path | None, chosen: Recipe, imatrix: Path | None) -> Planned:
    """Open the source and plan its conversion; warnings of the way go to stderr."""
    model = open_model(source)
    for warning in model.warnings:
        warn(warning)
    importance, provenance = imatrix_method.importance(model, imatrix) if imatrix else (None, {})
    made = plan.make(model, chosen, importance, provenance)
    return Planned(made, importance, output or _derived(source, chosen))


def choose_recipe(
    bits: int | None, type_name: str | None, recipe_file: Path | None, pure: bool, tensor_types: Sequence[str] | None
) -> Recipe:
    """The recipe a command line asks for; UsageError when it asks for two, or for bits there is no mix for."""
    choices = (("--bits", bits), ("--type", type_name), ("--recipe", recipe_file))
    given = [name for name, value in choices if value is not None]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} both choose the recipe", hint="give one of them")
    if bits is not None and bits not in BITS:
        raise UsageError(f"--bits {bits}: not one of {', '.join(map(str, BITS))}")
    if recipe_file is not None:
        found = recipe.from_file(recipe_file, pure)
    else:
        found = recipe.named(BITS[bits or _DEFAULT_BITS] if type_name is None else type_name, pure)
    return replace(found, overrides=tuple(recipe.override(text) for text in tensor_types or ()))


def _derived(source: Path, chosen: Recipe) -> Path:
    """`model-Q4_K_M.gguf` in the current directory."""
    resolved = source.resolve()
    stem = resolved.name if source.is_dir() else resolved.stem
    return Path(f"{stem}-{chosen.file_name}.gguf")

"""What a command line asks to be made: source, recipe, importance, and the plan they lead to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_cli.calibrate import imatrix as imatrix_method
from quantize_cli.certificate import statement
from quantize_cli.cli.terminal.text import nbytes_of, warn
from quantize_cli.errors import UsageError
from quantize_cli.formats.gguf.shards import shard_path
from quantize_cli.formats.hub import name_of
from quantize_cli.model import settings
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.plan import Importance, Plan
from quantize_cli.pipeline.recipe import BITS, Recipe
from quantize_cli.pipeline.write import Rounding

if TYPE_CHECKING:
    from quantize_cli.cli._calibrated import Calibration

_DEFAULT_BITS = 4
_NAMED = 3
"""Weights without an importance that are named."""


@dataclass(frozen=True)
class Request:
    """What is to be made of what."""

    source: Path
    recipe: Recipe
    output: Path | None = None
    imatrix: Path | None = None
    requantize: bool = False
    split_size: str | None = None
    settings: Sequence[str] | None = None
    calibration: "Calibration | None" = None


@dataclass(frozen=True)
class Known:
    """A plan, what errors cost in it, and who decides what stands for the weights."""

    plan: Plan
    """Of the model as one file."""
    importance: Importance | None
    rounding: Rounding
    method: str = "none"
    """As a certificate names it."""
    calibration: statement.Calibration | None = None
    """The text that errors were weighed on, as a certificate names it."""
    unreached: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By name, the experts that it never reached; of some methods known when the file is written."""


@dataclass(frozen=True)
class Planned:
    """What is known of a file to be, and where it goes."""

    known: Known
    output: Path
    files: dict[Path, Plan]
    """What is written: `output` itself, or its parts."""

    @property
    def plan(self) -> Plan:
        return self.known.plan


def planned(request: Request) -> Planned:
    """Open the source and plan its conversion; warnings of the way go to stderr."""
    limit = None if request.split_size is None else nbytes_of("--split-size", request.split_size)
    model = open_model(request.source)
    for warning in model.warnings:
        warn(warning)
    model = replace(model, metadata=settings.apply(model.metadata, request.settings or ()))
    importance, provenance = imatrix_method.importance(model, request.imatrix) if request.imatrix else (None, {})
    if request.calibration is None:
        made = plan.make(model, request.recipe, importance, provenance, request.requantize)
        known = Known(made, importance, Rounding())
    else:
        from quantize_cli.cli._calibrated import known_by

        known = known_by(request.calibration, model, request.recipe, importance, provenance, request.requantize)
    _warn(request, model, known)
    output = request.output or _derived(request.source, known.plan.recipe)
    return Planned(known, output, _files(known.plan, output, limit))


def _warn(request: Request, model: Model, known: Known) -> None:
    """Say which rules name nothing, and which weights the importance matrix says nothing of."""
    for warning in plan.idle_rules(known.plan.recipe, model):
        warn(warning)
    if request.imatrix is None or known.importance is None:
        return
    lacking = plan.unweighted(known.plan, known.importance)
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        warn(
            f"{request.imatrix}: has no entry for {len(lacking)} weights, which are rounded without one: "
            f"{', '.join(lacking[:_NAMED])}{more}"
        )


def _files(made: Plan, output: Path, limit: int | None) -> dict[Path, Plan]:
    parts = (made,) if limit is None else plan.split(made, limit)
    if len(parts) == 1:
        return {output: made}
    return {shard_path(output, number, len(parts)): part for number, part in enumerate(parts)}


def choose_recipe(
    bits: int | None,
    type_name: str | None,
    recipe_file: Path | None,
    pure: bool,
    tensor_types: Sequence[str] | None,
    has_budget: bool = False,
) -> Recipe:
    """The recipe a command line asks for; UsageError when it asks for two, or for bits there is no mix for."""
    choices = (("--bits", bits), ("--type", type_name), ("--recipe", recipe_file))
    given = [name for name, value in choices if value is not None]
    if has_budget:
        given.append("a budget")
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} both choose the recipe", hint="give one of them")
    if bits is not None and bits not in BITS:
        raise UsageError(f"--bits {bits}: not one of {', '.join(map(str, BITS))}")
    if recipe_file is not None:
        found = recipe.from_file(recipe_file, pure)
    else:
        found = recipe.named(BITS[bits or _DEFAULT_BITS] if type_name is None else type_name, pure)
    by_hand = tuple(recipe.override(text) for text in tensor_types or ())
    return replace(found, overrides=(*by_hand, *found.overrides))


def _derived(source: Path, chosen: Recipe) -> Path:
    """`model-Q4_K_M.gguf` in the current directory."""
    return Path(f"{name_of(source)}-{chosen.file_name}.gguf")

"""The recipe that loses least within a budget."""

from collections.abc import Mapping, Sequence

from quantize_cli.budget.frontier import room
from quantize_cli.budget.options import Losses, Menu, menu
from quantize_cli.budget.rules import recipe_of
from quantize_cli.budget.search import search
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.source import Model
from quantize_cli.pipeline.recipe import Recipe, Rule


def choose(
    model: Model,
    losses: Losses,
    nbytes: int,
    provenance: Mapping[str, Value] | None = None,
    rules: Sequence[Rule] = (),
    name: str = "budget",
) -> Recipe:
    """The recipe whose file, metadata and padding included, has at most `nbytes` bytes and loses least.

    `losses` are a measurement's; `provenance` is metadata that the file will have besides the model's, and `rules`
    say which tensors have a type already. OverBudgetError, which names the smallest file, when none is small enough.
    """
    return within(model, menu(model, losses, provenance, rules), nbytes, name)


def within(model: Model, options: Menu, nbytes: int, name: str = "budget") -> Recipe:
    """The same of options that are known."""
    chosen = search(list(options.options.values()), room(options, nbytes))
    types = {tensor: option.type for tensor, option in zip(options.options, chosen, strict=True)}
    return recipe_of(model, types, name)

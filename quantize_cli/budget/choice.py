"""The recipe that loses least within a budget."""

from quantize_cli.budget.frontier import chosen_within
from quantize_cli.budget.options import TypeChoices
from quantize_cli.budget.rules import recipe_of
from quantize_cli.model.source import Model
from quantize_cli.pipeline.recipe import Recipe


def recipe_within(model: Model, options: TypeChoices, nbytes: int) -> Recipe:
    """The recipe whose file, metadata and padding included, has at most `nbytes` bytes and loses least.

    OverBudgetError, which names the smallest file, when none is small enough.
    """
    chosen = chosen_within(options, nbytes)
    types = {tensor: option.type for tensor, option in zip(options.options, chosen, strict=True)}
    return recipe_of(model, types, "budget")

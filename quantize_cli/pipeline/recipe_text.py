"""A recipe in one line of text, and back where it is one of ours: `q4_k_m`, `q4_k_m, pure, blk.0.*=q6_k`."""

from dataclasses import replace

from quantize_cli.errors import UsageError
from quantize_cli.pipeline.recipe import Recipe, named, override

_PURE = "pure"
_OWN = "of a file"


def format_recipe(recipe: Recipe) -> str:
    """Its name, and what a command line added to it; a recipe of someone's own is said to be one, whatever its name."""
    overrides = [f"{rule.tensors}={rule.type.name.lower()}" for rule in recipe.overrides]
    return ", ".join([recipe.name if _is_known(recipe) else f"{recipe.name}, {_OWN}", *overrides])


def _is_known(recipe: Recipe) -> bool:
    try:
        return _read(recipe.name) == replace(recipe, overrides=())
    except UsageError:
        return False


def parse_recipe(text: str) -> Recipe:
    """The recipe that was spelled so; UsageError for one of someone's own, which its name does not tell."""
    recipe = _read(text)
    if format_recipe(recipe) != text:
        raise UsageError(f"recipe {text} is not spelled as we do")
    return recipe


def _read(text: str) -> Recipe:
    name, *rest = text.split(", ")
    pure = rest[:1] == [_PURE]
    return replace(named(name, pure), overrides=tuple(override(part) for part in rest[pure:]))

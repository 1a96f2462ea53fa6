"""Which family a model that none reads is most like, by its names and by what its tensors are called."""

from difflib import SequenceMatcher
from types import ModuleType

from quantize_cli import plugins
from quantize_cli.families.decoder.slots import without_slot
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.quoted import quoted

_LEAST_LIKE = 0.6
"""What difflib takes as a close match."""
_MOST_LETTERS = 100
"""Of a name that is compared."""
_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")


def family(model_type: str, class_name: str) -> str | None:
    """The family whose model_type or class is most like these, as difflib compares them; None where none is like."""
    for ending in _ENDINGS:
        class_name = class_name.removesuffix(ending)
    likeness = {
        name: max(_like(model_type, name), _like(class_name, plugins.load("families", name).CLASS))
        for name in plugins.names("families")
    }
    best = max(likeness, key=lambda name: likeness[name])
    return best if likeness[best] >= _LEAST_LIKE else None


def advice(checkpoint: Checkpoint, model_type: str, class_name: str) -> str:
    """A hint: the nearest family and which tensors would have no place in it, else all that there are."""
    name = family(model_type, class_name)
    if name is None:
        return "known: " + ", ".join(plugins.names("families"))
    names = [tensor.name for tensor in checkpoint.tensors]
    homeless = unplaced(plugins.load("families", name), names)
    if not homeless:
        return f"the nearest is {quoted(name)}, which has a place for all {len(names)} tensors: try it as model_type"
    more = f", as {quoted(homeless[0])}"
    return f"the nearest is {quoted(name)}, where {len(homeless)} of {len(names)} tensors have no place{more}"


def unplaced(family: ModuleType, names: list[str]) -> list[str]:
    """The stored names that this family has no slot for."""
    left_out: tuple[str, ...] = getattr(family, "LEFT_OUT", ())
    own = [name for name in names if not name.removeprefix(family.PREFIX).startswith(left_out)] if left_out else names
    return without_slot(family.SLOTS, own, family.PREFIX)


def _like(one: str, other: str) -> float:
    return SequenceMatcher(None, one[:_MOST_LETTERS].lower(), other.lower()).ratio()

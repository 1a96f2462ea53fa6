"""Where each tensor of a model stands among those of its role, by which the rules of a recipe go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.roles import ROLES, ModelFacts, layer_of, role_of


@dataclass(frozen=True)
class Occurrence:
    """A tensor among those of its role, in the order of layers."""

    role: str
    index: int
    """Its number among `count`, by which most rules go."""
    count: int
    met: int
    """How many of its role came before it."""


def occurrences(
    tensors: Sequence[Tensor], facts: ModelFacts, overridden: Callable[[Tensor], bool]
) -> dict[str, Occurrence]:
    """Where each tensor stands among those of its role.

    The reference counts tensors as it meets them, sorted by layer and name, and does not count those whose type was
    given by hand; feed-forward parts of a mixture of experts go by the number of their layer instead.
    """
    counts = dict.fromkeys(ROLES, 0)
    values = sum(role_of(tensor.name, facts.tied) == "attention_value" for tensor in tensors)
    by_name = {}
    for tensor in sorted(tensors, key=lambda t: (layer_of(t.name), t.name)):
        role = role_of(tensor.name, facts.tied)
        by_layer = (facts.experts > 1 and role.startswith("ffn_")) or role in ("other", "output", "embedding")
        index = layer_of(tensor.name) if by_layer else counts[role]
        count = values if role == "attention_value" else facts.layers
        by_name[tensor.name] = Occurrence(role, index, count, counts[role])
        counts[role] += not overridden(tensor)
    return by_name

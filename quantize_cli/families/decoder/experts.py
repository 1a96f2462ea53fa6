"""Mixtures of experts: the matrices of all experts of a layer become one tensor, as llama.cpp has them.

Checkpoints store each expert by itself, or as newer transformers hold them in memory: all experts in one tensor, the
gate and what it multiplies one after the other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value, u32
from quantize_cli.model.stacks import stack
from quantize_cli.model.tensor import Tensor

_NUMBER = "(0|[1-9][0-9]{0,8})"
_OUT, _IN = ("experts", "expert_feed_forward", "hidden"), ("experts", "hidden", "expert_feed_forward")
_GATE, _UP = Slot("blk.{}.ffn_gate_exps.weight", _OUT), Slot("blk.{}.ffn_up_exps.weight", _OUT)
DOWN = Slot("blk.{}.ffn_down_exps.weight", _IN)
ROUTER = Slot("blk.{}.ffn_gate_inp.weight", ("experts", "hidden"))
GATE_AND_UP = Slot("", ("experts", "expert_gate_and_up", "hidden"), parts=(_GATE, _UP))


@dataclass(frozen=True)
class Layout:
    """How a family stores experts one by one."""

    module: str
    """What a layer calls its mixture."""
    gate: str
    up: str
    down: str
    order: tuple[str, ...]
    """The order in which llama.cpp's converter writes the three."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """The layer, the number of the expert and which of the three a stored name is of."""
        return re.compile(rf"layers\.{_NUMBER}\.{self.module}\.experts\.{_NUMBER}\.({'|'.join(self.order)})\.weight")

    def slots(self) -> dict[str, Slot]:
        """Slots of what `gathered` makes, of tensors that are stacks already, and of the router."""
        one = f"layers.{{}}.{self.module}"
        own = {
            f"{one}.experts.{self.gate}.weight": _GATE,
            f"{one}.experts.{self.up}.weight": _UP,
            f"{one}.experts.{self.down}.weight": DOWN,
        }
        stacks = {f"layers.{{}}.mlp.experts.gate_up_proj{end}": GATE_AND_UP for end in ("", ".weight")}
        downs = {f"layers.{{}}.mlp.experts.down_proj{end}": DOWN for end in ("", ".weight")}
        return {**own, **stacks, **downs, f"{one}.gate.weight": ROUTER, "layers.{}.mlp.gate.weight": ROUTER}


MIXTRAL = Layout("block_sparse_moe", "w1", "w3", "w2", ("w1", "w2", "w3"))
QWEN = Layout("mlp", "gate_proj", "up_proj", "down_proj", ("down_proj", "gate_proj", "up_proj"))


def sizes_of(config: Config, width: str) -> dict[str, int]:
    """The words of shapes of a mixture, in numbers; `width` is the key of an expert's inner width."""
    inner = count(config, width)
    return {
        "experts": count(config, "num_local_experts"),
        "expert_feed_forward": inner,
        "expert_gate_and_up": 2 * inner,
    }


def metadata(architecture: str, config: Config) -> dict[str, Value]:
    """How many experts there are, and how many of them a token is sent to; InputError for more than there are."""
    experts, used = count(config, "num_local_experts"), count(config, "num_experts_per_tok")
    if used > experts:
        raise InputError(f"config.json: key 'num_experts_per_tok' is {used}, more than the {experts} experts")
    return {f"{architecture}.expert_count": u32(experts), f"{architecture}.expert_used_count": u32(used)}


def gathered(layout: Layout, stored: Sequence[Tensor], sizes: Mapping[str, int], prefix: str) -> list[Tensor]:
    """The stored tensors with the experts of each layer in three stacks, which stand where the last expert stood.

    `sizes` are those of `sizes_of`, with "hidden". InputError for an expert that is missing or too many, and for a
    shape that the config contradicts.
    """
    tensors: list[Tensor] = []
    layers: dict[str, dict[tuple[str, int], Tensor]] = {}
    for tensor in stored:
        match = layout.pattern.fullmatch(tensor.name.removeprefix(prefix))
        if match is None:
            tensors.append(tensor)
            continue
        layer, number, part = match.groups()
        if int(number) >= sizes["experts"]:
            raise InputError(f"{tensor.origin} is of expert {number}, the config has {sizes['experts']} experts")
        _refuse_other_shape(layout, part, tensor, sizes)
        matrices = layers.setdefault(layer, {})
        matrices[part, int(number)] = tensor
        if len(matrices) == len(layout.order) * sizes["experts"]:
            tensors += _stacks(layout, f"{prefix}layers.{layer}.{layout.module}.experts", layers.pop(layer), sizes)
    for layer, matrices in layers.items():
        _refuse_missing(layout, layer, matrices, sizes["experts"])
    return tensors


def _stacks(
    layout: Layout, module: str, matrices: Mapping[tuple[str, int], Tensor], sizes: Mapping[str, int]
) -> Iterator[Tensor]:
    for part in layout.order:
        yield stack(f"{module}.{part}.weight", [matrices[part, number] for number in range(sizes["experts"])])


def _refuse_other_shape(layout: Layout, part: str, tensor: Tensor, sizes: Mapping[str, int]) -> None:
    expected = tuple(sizes[word] for word in (_IN if part == layout.down else _OUT)[1:])
    if tensor.shape != expected:
        raise InputError(f"{tensor.origin} has shape {list(tensor.shape)}, the config says {list(expected)}")


def _refuse_missing(layout: Layout, layer: str, matrices: Mapping[tuple[str, int], Tensor], experts: int) -> None:
    for number in range(experts):
        for part in layout.order:
            if (part, number) not in matrices:
                name = f"layers.{layer}.{layout.module}.experts.{number}.{part}.weight"
                raise InputError(
                    f"tensor '{name}' is missing from the checkpoint, {len(matrices)} of its layer's experts were "
                    f"found, {len(layout.order) * experts} are needed",
                    hint="a shard may be missing, or the config may not be the model's",
                )

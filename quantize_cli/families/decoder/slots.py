"""Names of stored tensors -> names of a GGUF file, each with the shape the config promises."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from quantize_cli.errors import InputError
from quantize_cli.model.tensor import Tensor

HEAD = "lm_head.weight"
TIE_HINT = "a model whose output and embedding are one tensor says so in config.json: tie_word_embeddings: true"

Slots = Mapping[str, "Slot"]
"""By stored name, with `{}` for the number of the layer."""

_LAYER = re.compile(r"(?<=\.)(?:0|[1-9][0-9]{0,8})(?=\.)")
_EXPERT = re.compile(r"(?<=\.experts\.)(?:0|[1-9][0-9]{0,8})\.")
_BUFFERS = re.compile(r"(?:\.attn|\.attention)\.(?:bias|masked_bias)|\.rotary_emb\.inv_freq")
"""Causal masks and rotary frequencies that old checkpoints store, and every engine computes."""

_STUB_HINT = (
    "deepspeed's zero-3 leaves such stubs: run its zero_to_fp32.py, or save with "
    "stage3_gather_16bit_weights_on_model_save"
)


class NoSlotError(InputError):
    """A stored tensor has no slot."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(
            f"{tensor.origin} has no place in this architecture",
            hint="the config's model_type may not be the model's, or the checkpoint holds more than a text model",
        )
        self.origin = tensor.origin


@dataclass(frozen=True)
class Slot:
    """Where one stored tensor goes, and what is done to it on the way."""

    target: str
    """With `{}` for the number of the layer."""
    shape: tuple[str, ...]
    """As stored, in words of the `sizes` given to `place`."""
    optional: bool = False
    transposed: bool = False
    """Stored as (inputs, outputs), by transformers' Conv1D."""
    rotary_heads: str = ""
    """The size that counts the heads whose rows are reordered from two halves to adjacent pairs."""
    fused_groups: str = ""
    """The size that counts groups of rows, each of some heads of queries, one of keys and one of values."""
    shift: float = 0.0
    """What is added to the weights."""
    parts: tuple["Slot", ...] = ()
    """What the rows are divided among, one after the other; each part has a target and a shape of its own.

    Of a stack, the rows of each matrix.
    """
    alternate: bool = False
    """The two parts take the rows of each matrix, or the elements of each vector, by turns."""
    hint: str = "a shard may be missing, or the config may not be the model's"
    """What to try when the slot stays empty."""


def is_buffer(name: str) -> bool:
    """Whether a stored tensor is no weight, and left out of every GGUF file."""
    return any(match.end() == len(name) for match in _BUFFERS.finditer(name))


def without_slot(slots: Slots, names: Iterable[str], prefix: str) -> list[str]:
    """The stored names that `place` has no slot for; experts one by one go by the slot of their stack."""
    return [name for name in names if not is_buffer(name) and _pattern(_EXPERT.sub("", name), prefix) not in slots]


def _pattern(name: str, prefix: str) -> str:
    name = name.removeprefix(prefix)
    return _LAYER.sub("{}", name, count=1)


def place(slots: Slots, sizes: Mapping[str, int], stored: Sequence[Tensor], prefix: str) -> list[Tensor]:
    """The stored tensors under their GGUF names, in the order given; `prefix` may stand before stored names.

    InputError for a name without a slot, a layer beyond `sizes["layers"]`, two tensors for one slot, a shape the
    config contradicts, and a slot that stays empty though it is not optional.
    """
    placed: dict[str, Tensor] = {}
    for tensor in stored:
        if is_buffer(tensor.name):
            continue
        slot, layer = _slot_of(slots, sizes, tensor, prefix)
        for part, made in _divided(slot, sizes, _converted(slot, sizes, tensor)):
            target = part.target.format(layer)
            if target in placed:
                raise InputError(f"{tensor.origin} and {placed[target].origin} would both become '{target}'")
            placed[target] = made.renamed(target)
    _refuse_gaps(slots, sizes["layers"], placed)
    return list(placed.values())


def _slot_of(slots: Slots, sizes: Mapping[str, int], tensor: Tensor, prefix: str) -> tuple[Slot, str]:
    """The slot, and the number of the layer as it stands in the name, "" outside of layers."""
    name = tensor.name.removeprefix(prefix)
    match = _LAYER.search(name)
    pattern = name[: match.start()] + "{}" + name[match.end() :] if match else name
    slot = slots.get(pattern)
    if slot is None or "{}" in name:
        raise NoSlotError(tensor)
    if match and int(match.group()) >= sizes["layers"]:
        raise InputError(f"{tensor.origin} is of layer {match.group()}, the config has {sizes['layers']} layers")
    return slot, match.group() if match else ""


def _divided(slot: Slot, sizes: Mapping[str, int], tensor: Tensor) -> Iterator[tuple[Slot, Tensor]]:
    """The parts of a slot with their rows; without parts the slot itself."""
    if not slot.parts:
        yield slot, tensor
    if slot.alternate:
        yield from ((part, tensor.every_second(number)) for number, part in enumerate(slot.parts))
        return
    first = 0
    for part in slot.parts:
        is_stack = len(part.shape) == 3
        rows = sizes[part.shape[-2 if is_stack else 0]]
        yield part, _reordered(part, sizes, (tensor.rows_of_each if is_stack else tensor.row_range)(first, rows))
        first += rows


def _converted(slot: Slot, sizes: Mapping[str, int], tensor: Tensor) -> Tensor:
    expected = tuple(sizes[word] for word in slot.shape)
    if slot.transposed and tensor.scheme:
        expected = expected[::-1]
    if tensor.shape != expected:
        hint = _STUB_HINT if 0 in tensor.shape else _rows_hint(slot, tensor.shape, expected)
        raise InputError(f"{tensor.origin} has shape {list(tensor.shape)}, the config says {list(expected)}", hint)
    return _reordered(slot, sizes, tensor)


def _reordered(slot: Slot, sizes: Mapping[str, int], tensor: Tensor) -> Tensor:
    # Whoever quantizes a Conv1D makes a linear layer of it, which is stored as (outputs, inputs).
    if slot.transposed and not tensor.scheme:
        return tensor.transposed()
    if slot.shift:
        return tensor.shifted(slot.shift)
    if slot.fused_groups:
        groups = sizes[slot.fused_groups]
        return tensor.ungrouped(groups, sizes["heads"] // groups)
    if slot.rotary_heads:
        rows, heads = tensor.shape[0], sizes[slot.rotary_heads]
        if rows % (2 * heads):
            raise InputError(f"config.json: {rows} rows do not divide into two halves for each of {heads} heads")
        return tensor.with_paired_heads(heads)
    return tensor


def _rows_hint(slot: Slot, shape: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    """What to try where only the number of tokens differs: a tokenizer was enlarged, or the config is another's."""
    if slot.shape[0] != "vocabulary" or shape[1:] != expected[1:]:
        return None
    return f"if the model has {shape[0]} tokens, state it as 'vocab_size' in config.json"


def _refuse_gaps(slots: Slots, layers: int, placed: Mapping[str, Tensor]) -> None:
    required = {name: slot for name, slot in slots.items() if not slot.optional}
    for layer in range(layers):
        for name, slot in required.items():
            targets = [part.target.format(layer) for part in slot.parts or (slot,)]
            if any(target not in placed for target in targets):
                raise InputError(
                    f"tensor '{name.format(layer)}' is missing from the checkpoint, {len(placed)} were found",
                    hint=slot.hint,
                )


def with_embedding(stored: Sequence[Tensor], embedding: str, tied: bool, prefix: str, head: str = HEAD) -> list[Tensor]:
    """The stored tensors, with `embedding` under its own name where only the output tied to it was stored."""
    names = {tensor.name.removeprefix(prefix) for tensor in stored}
    if not tied or embedding in names or head not in names:
        return list(stored)
    return [tensor.renamed(embedding) if tensor.name == head else tensor for tensor in stored]


def biases(slots: Slots) -> dict[str, Slot]:
    """A bias beside each of these weights, as long as the weight has rows."""
    return {
        _bias_of(name): replace(slot, target=_bias_of(slot.target), shape=slot.shape[:1])
        for name, slot in slots.items()
    }


def _bias_of(name: str) -> str:
    return f"{name.removesuffix('.weight')}.bias"


def optional(slots: Slots) -> dict[str, Slot]:
    """The same slots, none of which need be filled."""
    return {name: replace(slot, optional=True) for name, slot in slots.items()}

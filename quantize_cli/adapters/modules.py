"""What transformers calls the matrices of a GGUF file, and in which order it has their rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.families.decoder.slots import HEAD, Slot
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.rows import PairedHeads, Ungrouped
from quantize_cli.model.source import Model
from quantize_cli.model.sources import Held

_HEADS = {"heads": "attention.head_count", "key_heads": "attention.head_count_kv"}
"""Metadata that counts heads, by the words of slots."""
_WEIGHT = ".weight"


@dataclass(frozen=True)
class Module:
    """A linear layer or an embedding of the model in transformers, and the tensor that holds its weights."""

    name: str
    """As `named_modules` of the class for text generation has it."""
    tensor: str
    head_width: int = 0
    """Rows of each head that transformers has as two halves and the file as adjacent pairs; 0 for the same order."""
    fused: tuple[int, int] = (0, 0)
    """Groups of heads, and the heads of queries in each, where transformers has queries, keys and values by group."""
    transposed: bool = False
    """transformers stores (inputs, outputs): its Conv1D."""

    def as_in_file(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, columns) in transformers' order -> in that of the file."""
        return rows[self._order(len(rows))] if self._is_reordered else rows

    def as_in_transformers(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, columns) in the order of the file -> in that of transformers."""
        if not self._is_reordered:
            return rows
        restored = np.empty_like(rows)
        restored[self._order(len(rows))] = rows
        return restored

    def _order(self, count: int) -> np.ndarray:
        """Which row of transformers each row of the file is, (count,) i64."""
        numbers = Held(np.arange(count)[:, None])
        groups, queries = self.fused
        if groups:
            return Ungrouped(numbers, groups, queries, count // (groups * (queries + 2))).rows(0, count)[:, 0]
        return PairedHeads(numbers, self.head_width).rows(0, count)[:, 0]

    @property
    def _is_reordered(self) -> bool:
        return bool(self.head_width or self.fused[0])


def modules(model: Model) -> dict[str, Module]:
    """The modules of a model by the names of their tensors; InputError where its architecture has none that we know."""
    family = _family(model)
    matrices = {tensor.name: tensor.row_count for tensor in model.tensors if len(tensor.shape) == 2}
    layers = scalars.integer(f"{model.path}: ", model.metadata, f"{model.architecture}.block_count")
    named = (item for stored, slot in family.SLOTS.items() for item in _named(family, stored, slot, layers))
    return {
        tensor: Module(name, tensor, _head_width(model, slot, matrices[tensor]), _fused(model, slot), slot.transposed)
        for name, tensor, slot in named
        if tensor in matrices
    }


def has_names(model: Model) -> bool:
    """Whether it is known what transformers calls the modules of such a model."""
    return next(_families(model), None) is not None


def _families(model: Model) -> Iterator[ModuleType]:
    """Those whose files are of the model's architecture; their slots are the same."""
    families = (plugins.load("families", name) for name in plugins.names("families"))
    return (family for family in families if model.architecture == family.ARCHITECTURE)


def _family(model: Model) -> ModuleType:
    family = next(_families(model), None)
    if family is not None:
        return family
    raise InputError(
        f"{model.path}: what transformers calls the modules of architecture {quoted(str(model.architecture))} is not "
        "known, so no adapter of PEFT fits it",
        hint="an adapter in a gguf file names tensors as the model's file does",
    )


def _named(family: ModuleType, stored: str, slot: Slot, layers: int) -> Iterator[tuple[str, str, Slot]]:
    """The names of a slot's module and tensor in each layer; none where a module becomes several tensors."""
    if not stored.endswith(_WEIGHT) or slot.parts:
        return
    is_head = stored == getattr(family, "HEAD", HEAD)
    name = (stored if is_head else family.PREFIX + stored).removesuffix(_WEIGHT)
    for layer in range(layers if "{}" in name else 1):
        yield name.format(layer), slot.target.format(layer), slot


def _fused(model: Model, slot: Slot) -> tuple[int, int]:
    """How many groups of heads a fused matrix has, and how many heads of queries each; zeros where none is."""
    if not slot.fused_groups:
        return 0, 0
    heads, groups = (_count(model, word) for word in ("heads", slot.fused_groups))
    return groups, heads // groups


def _count(model: Model, word: str) -> int:
    """Heads as the metadata counts them; as many of keys as of queries where it does not say."""
    source, key = f"{model.path}: ", f"{model.architecture}.{_HEADS[word]}"
    heads = scalars.integer(source, model.metadata, f"{model.architecture}.{_HEADS['heads']}", lowest=1)
    return scalars.integer(source, model.metadata, key, default=heads, lowest=1)


def _head_width(model: Model, slot: Slot, rows: int) -> int:
    if not slot.rotary_heads:
        return 0
    count = _count(model, slot.rotary_heads)
    if rows % (2 * count):
        raise InputError(f"{model.path}: {rows} rows do not divide into two halves for each of {count} heads")
    return rows // count

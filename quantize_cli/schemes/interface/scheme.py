"""What a scheme is: which tensors belong to one matrix, and how its rows are decoded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.model.sources import Dequantized, Source
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes.interface.settings import Settings

DAMAGED_HINT = "the checkpoint is damaged, or another program wrote it than its configuration says"


@dataclass(frozen=True)
class Group:
    """What a checkpoint stores of one matrix, or of anything else whose names end as a scheme's do."""

    module: str
    """What the names have in common: "model.layers.0.mlp.up_proj"."""
    parts: Mapping[str, StoredTensor]
    """By the rest of the name: ".qweight"."""

    def __contains__(self, ending: str) -> bool:
        return ending in self.parts

    def part(self, ending: str, dtypes: tuple[str, ...], shape: tuple[int, ...] | None = None) -> StoredTensor:
        """The part that ends so; InputError when it is missing, of another dtype, or not of this shape."""
        if ending not in self.parts:
            first = next(iter(self.parts.values()))
            raise InputError(
                f"{first.path}: tensor {quoted(self.module + ending)} is missing beside {quoted(first.name)}",
                hint="a shard may be missing, or the configuration may be another checkpoint's",
            )
        stored = self.parts[ending]
        if stored.dtype not in dtypes:
            raise InputError(f"{origin(stored)} has dtype {stored.dtype}, not {' or '.join(dtypes)}", DAMAGED_HINT)
        if shape is not None and stored.shape != shape:
            raise InputError(f"{origin(stored)} has shape {list(stored.shape)}, expected {list(shape)}", DAMAGED_HINT)
        return stored

    def matrix(self, ending: str, dtypes: tuple[str, ...]) -> StoredTensor:
        """The same for a part of two dimensions, none of them zero."""
        stored = self.part(ending, dtypes)
        if len(stored.shape) != 2 or not prod(stored.shape):
            raise InputError(f"{origin(stored)} has shape {list(stored.shape)}, not that of a matrix", DAMAGED_HINT)
        return stored


Decoder = Callable[[Group], Tensor | None]
"""A group -> its float tensor, nothing of which is read yet; None where the group is not quantized.

InputError when the group is not whole, or contradicts the configuration or itself.
"""


@dataclass(frozen=True)
class Scheme:
    """One way to store quantized weights."""

    methods: tuple[str, ...]
    """What `quant_method` calls it."""
    endings: tuple[str, ...]
    """Ends of the names of all tensors that may belong to a quantized matrix. The longest that fits is taken."""
    marks: tuple[str, ...]
    """Those of them that tell the scheme where no configuration does; none where only a configuration can."""
    decoder: Callable[[Settings], Decoder]
    """Made once for a checkpoint, from what its configuration says."""
    sources: tuple[type, ...]
    """The classes of its row sources: frozen dataclasses that can be pickled and printed in a plan."""
    dropped: tuple[str, ...] = ()
    """Ends of the names of tensors that only the tool's own engine needs, as scales of activations and of caches."""


def origin(stored: StoredTensor) -> str:
    """The file and the name of a stored tensor, for messages."""
    return f"{stored.path}: tensor {quoted(stored.name)}"


def decoded(group: Group, source: Source, shape: tuple[int, ...], scheme: str, parameter: str = ".weight") -> Tensor:
    """The tensor of float32 that a group stands for. `source` decodes its rows, `scheme` is "gptq, 4 bits".

    `parameter` is what the float checkpoint appends to the name of the module.
    """
    first = next(iter(group.parts.values()))
    name = group.module + parameter
    where = f"{first.path}: tensor {quoted(name)}"
    return Tensor(name, shape, GgmlType.F32, Dequantized(source, scheme), where)

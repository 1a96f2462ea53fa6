"""A frozen model with adapters: what `qlora` trains in place of matrices."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from quantize_cli.adapters.adapter import Adapter
from quantize_cli.errors import UsageError
from quantize_cli.formats.quoted import quoted
from quantize_cli.model import tensor as model_tensor
from quantize_cli.model.source import Model
from quantize_cli.pipeline import globs
from quantize_cli.pipeline.roles import layer_of, role_of, why_kept
from quantize_cli.train.decoder.weights import Rows
from quantize_cli.train.weights.frozen import FrozenMatrix, PackedMatrix, frozen_product
from quantize_cli.train.weights.low_rank import LowRank
from quantize_cli.train.weights.nf4 import Nf4Matrix
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role

BASES = ("nf4",)
"""What a base may be besides a file's own types."""
_LINEAR = ("attention_", "ffn_")
"""How the roles of linear layers begin."""


class AdaptedWeights(nn.Module):
    """Weights of a decoder: frozen matrices, some with a term of low rank beside them.

    Its state dict holds the adapters alone.
    """

    def __init__(self, frozen: Mapping[str, FrozenMatrix], adapters: Mapping[str, LowRank]) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapters = adapters
        # Names of modules have no dots.
        self.low_rank = nn.ModuleDict({name.replace(".", "/"): item for name, item in adapters.items()})

    def forward(self, name: str) -> Tensor:
        """A matrix (rows, columns) f32, with its term if it has one."""
        weights = self.frozen[name]()
        return weights + self.adapters[name]() if name in self.adapters else weights

    def multiply(self, rows: Rows, x: Tensor) -> Tensor:
        """Activations (..., columns) -> (..., rows.count): x W^T + scale (x A^T) B^T."""
        product = frozen_product(self.frozen[rows.name], rows, x)
        return product + self.adapters[rows.name].multiply(rows, x) if rows.name in self.adapters else product

    def groups(self) -> tuple[ParameterGroup, ...]:
        """All that is trained. Rates of adapters are absolute."""
        return (ParameterGroup(tuple(self.parameters()), Role.ADAPTERS, 1.0),)

    def adapter(self, architecture: str) -> Adapter:
        """The adapters as they are now."""
        return Adapter(architecture, {name: item.term() for name, item in self.adapters.items()})

    @property
    def frozen_nbytes(self) -> int:
        """Of the frozen matrices, as they are kept."""
        return sum(matrix.nbytes for matrix in self.frozen.values())


def refuse_base(base: str | None) -> None:
    """UsageError for a base that there is not."""
    if base is not None and base not in BASES:
        raise UsageError(f"--base {quoted(base)}: not {' or '.join(BASES)}", hint="leave it out for a file's types")


def frozen_matrices(model: Model, base: str | None, device: torch.device) -> dict[str, FrozenMatrix]:
    """All tensors of a model by name: of a base "nf4" the matrices of layers as NF4, the others as they are stored.

    UsageError for another base, InputError for a number that is not finite.
    """
    refuse_base(base)
    return {tensor.name: _frozen(tensor, base, device) for tensor in model.tensors}


def _frozen(tensor: model_tensor.Tensor, base: str | None, device: torch.device) -> FrozenMatrix:
    if base is None or why_kept(tensor) is not None or layer_of(tensor.name) < 0:
        return PackedMatrix(tensor, device)
    return Nf4Matrix(tensor, device)


def new_adapters(model: Model, targets: Sequence[str], rank: int, alpha: float, seed: int) -> dict[str, LowRank]:
    """Adapters for the matrices that `targets` match, or for all of attention and feed-forward if there are none.

    Stacks of experts, and what is looked up, get none. UsageError for a pattern that matches no other matrix.
    """
    linear = {tensor.name: tensor.shape for tensor in model.tensors if _is_linear(tensor)}
    for pattern in targets:
        if not any(fnmatchcase(name, pattern) for name in linear):
            raise UsageError(
                f"--target {quoted(pattern)}: matches no matrix that an adapter can stand beside",
                hint=globs.advice(pattern, list(linear)),
            )
    usual = [name for name in linear if layer_of(name) >= 0]
    chosen = [name for name in linear if any(fnmatchcase(name, pattern) for pattern in targets)] if targets else usual
    return {name: LowRank(name, (linear[name][0], linear[name][1]), rank, alpha, seed) for name in chosen}


def _is_linear(tensor: model_tensor.Tensor) -> bool:
    """Whether it is one matrix that is multiplied and nothing else."""
    role = role_of(tensor.name, tied=False)
    is_matrix = len(tensor.shape) == 2 and why_kept(tensor) is None
    return is_matrix and (role == "output" or (layer_of(tensor.name) >= 0 and role.startswith(_LINEAR)))

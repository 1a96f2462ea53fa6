"""Products of activations with stored matrices."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from quantize_cli.runtime.layer import Linear
from quantize_cli.train.decoder.weights import Rows, Weights, multiply


class Projection(nn.Module):
    """x (..., columns) -> (..., rows), with a bias where the model has one."""

    def __init__(self, *linears: Linear, number: int = 0) -> None:
        """Several linears are the rows of one stored matrix in order; `number` is that of an expert in a stack."""
        super().__init__()
        self.counts = [linear.matrix.tensor.row_count for linear in linears]
        self.rows = Rows(linears[0].matrix.tensor.name, number * sum(self.counts), sum(self.counts))
        biases = [linear.bias for linear in linears if linear.bias is not None]
        self.bias = vector(np.concatenate(biases)) if biases else None
        self.scale = linears[0].scale

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        product = multiply(self.rows, x, weights)
        product = product if self.scale == 1 else product * self.scale
        return product if self.bias is None else product + self.bias.to(product.dtype)


class Projections(nn.Module):
    """Several products of the same activations; rows of one stored matrix are multiplied at once."""

    def __init__(self, linears: Sequence[Linear], number: int = 0) -> None:
        """`number` is that of an expert in a stack."""
        super().__init__()
        by_matrix = groupby(linears, key=lambda linear: linear.matrix.tensor.name)
        self.parts = nn.ModuleList(Projection(*consecutive, number=number) for _, consecutive in by_matrix)

    def forward(self, x: Tensor, weights: Weights) -> list[Tensor]:
        """One product (..., rows) for each linear."""
        parts = cast(Iterable[Projection], self.parts)
        return [product for part in parts for product in torch.split(part(x, weights), part.counts, dim=-1)]


def vector(values: np.ndarray) -> nn.Parameter:
    """A vector of the model, which stays as it is unless someone asks for its gradient."""
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32)), requires_grad=False)

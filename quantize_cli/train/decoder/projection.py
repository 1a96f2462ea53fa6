"""Products of activations with stored matrices."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from quantize_cli.runtime.layer import Linear
from quantize_cli.train.decoder.weights import Rows, Weights, multiply


class Projection(nn.Module):
    """x (..., columns) -> (..., rows), with a bias where the model has one."""

    def __init__(self, *linears: Linear) -> None:
        """Of several linears, which must be consecutive rows of one stored matrix, the rows one after the other."""
        super().__init__()
        first = linears[0].matrix.tensor
        self.counts = [linear.matrix.tensor.row_count for linear in linears]
        self.rows = Rows(first.name, first.first_row, sum(self.counts))
        biases = [linear.bias for linear in linears if linear.bias is not None]
        self.bias = vector(np.concatenate(biases)) if biases else None

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        product = multiply(self.rows, x, weights)
        return product if self.bias is None else product + self.bias.to(product.dtype)


class Projections(nn.Module):
    """Several products of the same activations; rows of one stored matrix are multiplied at once."""

    def __init__(self, linears: Sequence[Linear]) -> None:
        super().__init__()
        by_matrix = groupby(linears, key=lambda linear: linear.matrix.tensor.name)
        self.parts = nn.ModuleList(Projection(*consecutive) for _, consecutive in by_matrix)

    def forward(self, x: Tensor, weights: Weights) -> list[Tensor]:
        """One product (..., rows) for each linear."""
        return [product for part in self.parts for product in part(x, weights).split(part.counts, dim=-1)]


def vector(values: np.ndarray) -> nn.Parameter:
    """A vector of the model, which stays as it is unless someone asks for its gradient."""
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32)), requires_grad=False)

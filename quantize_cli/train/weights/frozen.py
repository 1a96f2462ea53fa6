"""Matrices that are not trained: kept as blocks, and decoded each time they are used.

A product keeps neither the floats nor its input for the backward pass: gradients reach the input alone, for which the
matrix is decoded once more, as QLoRA does (Dettmers et al. 2023). So memory holds blocks, and the floats of one matrix
at a time. Nothing is cached between uses: of a step on 512 tokens decoding takes 2 (Q4_0) to 7 hundredths (NF4).
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quantize_cli.model import tensor as model_tensor
from quantize_cli.quants import decode
from quantize_cli.runtime.damage import refuse_damaged
from quantize_cli.train.decoder.weights import Rows

_WEIGHTS = 1 << 22
"""Decoded at once: 16 MiB of float32."""


class FrozenMatrix(Protocol):
    """A matrix (rows, columns) that is decoded on request; of a stack of experts all rows."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        ...

    def __call__(self) -> Tensor:
        """(rows, columns) f32, new at each call."""
        ...


class PackedMatrix:
    """The rows of a tensor as they are stored, of any type; blocks are decoded by the main processor."""

    def __init__(self, tensor: model_tensor.Tensor, device: torch.device) -> None:
        """InputError for a number that is NaN or infinite."""
        self.shape = (tensor.row_count, tensor.columns)
        self._type, self._device = tensor.type, device
        self._stored = np.ascontiguousarray(tensor.read(0, tensor.row_count))
        refuse_damaged(tensor, self._stored.view(np.uint8).reshape(tensor.row_count, -1))

    @property
    def nbytes(self) -> int:
        return self._stored.nbytes

    def __call__(self) -> Tensor:
        rows, columns = self.shape
        out = torch.empty(self.shape, device=self._device)
        step = max(1, _WEIGHTS // columns)
        for start in range(0, rows, step):
            out[start : start + step] = torch.tensor(decode(self._type, self._stored[start : start + step]))
        return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: FrozenMatrix, rows: Rows) -> Tensor:
        ctx.matrix, ctx.rows = matrix, rows
        return functional.linear(x, rows.of(matrix()).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient @ ctx.rows.of(ctx.matrix()).to(gradient.dtype), None, None


def frozen_product(matrix: FrozenMatrix, rows: Rows, x: Tensor) -> Tensor:
    """Activations (..., columns) times some rows of a frozen matrix: (..., rows.count), in autocast's type."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    product: Tensor = _Product.apply(x, matrix, rows)  # type: ignore[no-untyped-call]
    return product

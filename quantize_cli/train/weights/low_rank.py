"""Two trained matrices of low rank beside a frozen one (LoRA, Hu et al. 2021)."""

import zlib
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize_cli.adapters.adapter import LowRankTerm
from quantize_cli.train.decoder.weights import Rows


class LowRank(nn.Module):
    """alpha / rank times b a, which is added to a matrix (rows, columns). It begins as zero.

    `a` is drawn as PEFT draws it, Kaiming's uniform distribution with a slope of sqrt(5): within 1 / sqrt(columns). The
    numbers follow from the seed and the name alone, whatever else is drawn before.
    """

    def __init__(self, name: str, shape: tuple[int, int], rank: int, alpha: float, seed: int) -> None:
        super().__init__()
        rows, columns = shape
        bound = 1 / sqrt(columns)
        drawn = np.random.default_rng([seed, zlib.crc32(name.encode())]).uniform(-bound, bound, (rank, columns))
        self.a = nn.Parameter(torch.from_numpy(drawn.astype(np.float32)))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        self.alpha = alpha

    @property
    def scale(self) -> float:
        return self.alpha / len(self.a)

    def multiply(self, rows: Rows, x: Tensor) -> Tensor:
        """Activations (..., columns) -> what is added to their product with some rows, (..., rows.count)."""
        return functional.linear(functional.linear(x, self.a), rows.of(self.b)) * self.scale

    def forward(self) -> Tensor:
        """(rows, columns) f32, what is added to the matrix."""
        return self.b @ self.a * self.scale

    def term(self) -> LowRankTerm:
        """As it is now, in main memory."""
        a, b = (factor.detach().cpu().numpy().copy() for factor in (self.a, self.b))
        return LowRankTerm(a, b, self.alpha)

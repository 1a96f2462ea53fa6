"""A matrix of a type whose scales follow from its weights: floats of few bits, which a file's writer searches anew."""

import numpy as np
import torch
from torch import Tensor, nn

from quantize_cli import quants
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.train.weights.straight_through import straight
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role, TrainedMatrix, magnitude


class SearchedMatrix(TrainedMatrix):
    """Float weights, encoded and decoded in each forward pass; there are no scales to train apart.

    Rows whose weights are not encoded to what the file holds start from what a decoder makes of it.
    """

    def __init__(self, type_: GgmlType, blocks: np.ndarray, weights: np.ndarray) -> None:
        """Blocks (rows, row bytes) u8, and the float weights (rows, columns) f32 behind them."""
        super().__init__()
        decoded = quants.decode(type_, blocks)
        rows, columns = decoded.shape
        self.type, self.shape = type_, (rows, columns)
        weights = np.ascontiguousarray(weights, np.float32).reshape(self.shape)
        same = (quants.encode(type_, weights) == blocks).all(axis=1, keepdims=True)
        self.weight = nn.Parameter(torch.from_numpy(np.where(same, weights, decoded)))

    def forward(self) -> Tensor:
        decoded = torch.from_numpy(quants.decode(self.type, self.blocks())).to(self.weight.device)
        return straight(decoded, self.weight)

    @torch.no_grad()
    def blocks(self) -> np.ndarray:
        return quants.encode(self.type, self.weight.cpu().numpy())

    def groups(self) -> tuple[ParameterGroup, ...]:
        """As TrainedMatrix has it; the unit is about a step of four bits."""
        if not self.weight.requires_grad:
            return ()
        return (ParameterGroup((self.weight,), Role.WEIGHTS, magnitude(self.weight) / 4),)

    @torch.no_grad()
    def latent(self) -> Tensor:
        return self.weight.clone()

    def freeze_codes(self) -> None:
        self.weight.requires_grad_(False)

    def thaw_codes(self) -> None:
        self.weight.requires_grad_(True)

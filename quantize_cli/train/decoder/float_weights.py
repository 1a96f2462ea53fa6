"""A model's matrices as torch tensors: those of a float checkpoint, or what a GGUF file's blocks stand for."""

import torch
from torch import Tensor

from quantize_cli.model import tensor as model_tensor
from quantize_cli.quants import decode
from quantize_cli.runtime.hyperparameters import HasMetadata

_WEIGHTS = 1 << 22
"""Decoded at once: 16 MiB of float32."""
_ROW = "ffn_gate_inp_shexp.weight"
"""A matrix of one row, which a file may call a vector."""


def float_weights(
    model: HasMetadata, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """All matrices that a decoder of this model reads, by name: (rows, columns), of a stack all experts' rows.

    InputError for a weight that is NaN or infinite.
    """
    return {
        tensor.name: _matrix(tensor, torch.device(device), dtype)
        for tensor in model.tensors
        if len(tensor.shape) > 1 or tensor.name.endswith(_ROW)
    }


def _matrix(tensor: model_tensor.Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.empty((tensor.row_count, tensor.columns), dtype=dtype, device=device)
    step = max(1, _WEIGHTS // tensor.columns)
    for start in range(0, tensor.row_count, step):
        stop = min(start + step, tensor.row_count)
        weights = decode(tensor.type, tensor.read(start, stop))
        model_tensor.refuse_not_finite(weights, tensor.origin, start)
        matrix[start:stop] = torch.tensor(weights)
    return matrix

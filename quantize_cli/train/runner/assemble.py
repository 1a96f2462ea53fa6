"""The float model, the file that training starts from and the text become what methods work with."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.model import tensor as model_tensor
from quantize_cli.model.source import Model
from quantize_cli.runtime.transformer import from_model
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.decoder.decoder import Decoder
from quantize_cli.train.decoder.float_weights import float_weights
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Models, Training
from quantize_cli.train.weights.factory import trained_matrix
from quantize_cli.train.weights.trained_matrix import TrainedMatrix


def assemble(job: TrainJob, models: Models, examples: Examples, device: torch.device) -> Training:
    """All on `device`; each quantized matrix of the file that training starts from is trained.

    InputError for a weight that is NaN or infinite.
    """
    assert models.start is not None
    decoder = Decoder(from_model(models.source, resident=False), job.gradient_checkpointing).to(device)
    original = float_weights(models.source, device)
    matrices = {tensor.name: _trained(tensor, original[tensor.name]).to(device) for tensor in quantized(models.start)}
    rest = [tensor for tensor in models.start.tensors if tensor.name not in matrices]
    fixed = float_weights(replace(models.start, tensors=rest), device)
    return Training(job, decoder, original.__getitem__, matrices, fixed.__getitem__, examples, device)


def quantized(start: Model) -> list[model_tensor.Tensor]:
    """The matrices of a file that stand in a block type."""
    return [tensor for tensor in start.tensors if tensor.type not in FLOAT_TYPES and len(tensor.shape) > 1]


def _trained(tensor: model_tensor.Tensor, weights: Tensor) -> TrainedMatrix:
    blocks = np.ascontiguousarray(tensor.read(0, tensor.row_count))
    return trained_matrix(tensor.type, blocks, weights.cpu().numpy())

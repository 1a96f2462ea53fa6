"""The float model, the file that training starts from and the text become what methods work with."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.model.source import Model
from quantize_cli.runtime.transformer import from_model
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.decoder.decoder import Decoder
from quantize_cli.train.decoder.float_weights import float_weights
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Training
from quantize_cli.train.weights.factory import trained_matrix
from quantize_cli.train.weights.trained_matrix import TrainedMatrix


def assemble(
    job: TrainJob, source: Model, start: Model | None, examples: Examples, device: torch.device
) -> Training:
    """All on `device`; each quantized matrix of `start` is trained, unless the job trains adapters beside it.

    Without `start` what is fixed are the float weights. InputError for a weight that is NaN or infinite.
    """
    decoder = Decoder(from_model(source, resident=False), job.gradient_checkpointing).to(device)
    original = float_weights(source, device)
    trained = () if start is None or not trains_matrices(job) else quantized_tensors(start)
    matrices = {tensor.name: _trained(tensor, original[tensor.name]).to(device) for tensor in trained}
    fixed = original
    if start is not None:
        rest = [tensor for tensor in start.tensors if tensor.name not in matrices]
        fixed = float_weights(replace(start, tensors=rest), device)
    return Training(job, decoder, original.__getitem__, matrices, fixed.__getitem__, examples, device)


def quantized_tensors(start: Model) -> list[tensor.Tensor]:
    """The matrices of a file that stand in a block type."""
    return [each for each in start.tensors if each.type not in FLOAT_TYPES and len(each.shape) > 1]


def _trained(start: tensor.Tensor, weights: Tensor) -> TrainedMatrix:
    blocks = np.ascontiguousarray(start.read(0, start.row_count))
    return trained_matrix(start.type, blocks, weights.cpu().numpy())

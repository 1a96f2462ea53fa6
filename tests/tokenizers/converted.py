"""Checkpoints converted to float32 GGUF files, for llama.cpp to tokenize with."""

from pathlib import Path

import numpy as np

from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.model.source import Model, open_model


def convert(checkpoint: Path, path: Path) -> Model:
    """Write the checkpoint as `path`, every tensor float32, and return it as it was opened."""
    return write(open_model(checkpoint), path)


def write(model: Model, path: Path) -> Model:
    """Write a model as `path`, every tensor float32, and return it."""
    layout = lay_out(model.metadata, [TensorInfo(t.name, t.shape, GgmlType.F32) for t in model.tensors])
    with path.open("wb") as file:
        file.write(layout.header)
        for tensor, offset in zip(model.tensors, layout.offsets, strict=True):
            file.seek(offset)
            file.write(np.asarray(tensor.read(0, tensor.row_count)).astype("<f4").tobytes())
        file.truncate(layout.nbytes)
    return model

"""An adapter is merged: each matrix becomes itself plus its term, computed when rows of it are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.adapters.gguf import read_gguf_adapter
from quantize_cli.adapters.peft import read_peft
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FLOAT_TYPES
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.source import record_opened_files
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor, refuse_not_finite


def read_adapter(path: Path, model: Model) -> Adapter:
    """The adapter for `model` at `path`: a GGUF file, or a directory as PEFT saves it.

    FormatError when a file is not what it promises; InputError for an adapter of another kind or another model.
    """
    return read_gguf_adapter(path) if is_gguf(path) else read_peft(path, model)


def with_adapter(model: Model, path: Path, factor: float = 1.0) -> Model:
    """The model with the adapter at `path`, times `factor`, merged into its float weights."""
    with record_opened_files() as files:
        adapter = read_adapter(path, model)
    return replace(merged(model, adapter.times(factor)), files={**model.files, **files})


def merged(model: Model, adapter: Adapter) -> Model:
    """The model with W + alpha / rank b a in place of each W; its rows are computed when they are read.

    InputError for an adapter of another architecture or of other shapes, and for weights that are not floats.
    """
    if adapter.architecture != model.architecture:
        raise InputError(
            f"{adapter.origin}: an adapter for architecture {quoted(adapter.architecture)}, {model.path} is of "
            f"{quoted(str(model.architecture))}"
        )
    names = {tensor.name for tensor in model.tensors}
    if missing := [name for name in adapter.terms if name not in names]:
        raise InputError(
            f"{adapter.origin}: changes tensor {quoted(missing[0])}, which {model.path} does not have",
            hint="an adapter fits the model that it was trained on",
        )
    tensors = [
        _plus(tensor, adapter.terms[tensor.name], adapter.origin) if tensor.name in adapter.terms else tensor
        for tensor in model.tensors
    ]
    return replace(model, tensors=tensors)


def _plus(tensor: Tensor, term: LowRankTerm, origin: str) -> Tensor:
    if tensor.shape != term.shape:
        raise InputError(
            f"{origin}: a term of shape {list(term.shape)} for {tensor.origin}, which has {list(tensor.shape)}",
            hint="an adapter fits the model that it was trained on",
        )
    if tensor.type not in FLOAT_TYPES:
        raise InputError(
            f"{tensor.origin}: {tensor.type.name.lower()}, an adapter is merged into f32, f16 or bf16",
            hint="merge it into the original weights, or have the engine apply it to the file: llama.cpp's --lora",
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        left = term.b * np.float32(term.scale)
    refuse_not_finite(left, f"{origin}: {quoted(tensor.name)} times alpha {term.alpha:g}", 0)
    return tensor.plus(left, term.a)

"""The diagonal method: errors in a column cost what its activations' mean square says (llama.cpp's imatrix)."""

from math import prod
from pathlib import Path, PureWindowsPath

import numpy as np

from quantize_cli.calibration.runner.method import Method
from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, text, u32
from quantize_cli.formats.imatrix import ImportanceFile, read_imatrix
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.source import Model
from quantize_cli.pipeline.plan import Importance


def importance(model: Model, path: Path) -> tuple[Importance, dict[str, Value]]:
    """What the file at `path` says of each of the model's tensors, (matrices, columns) f32, and metadata on its origin.

    InputError when the size of an entry is not that of its tensor. Only a token embedding may differ, and then goes
    without, as in llama.cpp.
    """
    file = read_imatrix(path)
    means = file.means
    costs = {}
    for tensor in model.tensors:
        if tensor.name not in means:
            continue
        matrices = prod(tensor.shape[:-2])
        values = means[tensor.name]
        if values.size == matrices * tensor.columns:
            costs[tensor.name] = np.ascontiguousarray(values.reshape(matrices, tensor.columns), np.float32)
        elif tensor.name != "token_embd.weight":
            raise InputError(
                f"{path}: {values.size} values for {quoted(tensor.name)}, "
                f"which has {matrices} x {tensor.columns} columns",
                hint="the importance matrix was made from another model",
            )
    if not costs:
        raise InputError(f"{path}: none of its {len(means)} names is a tensor of {model.path}")
    return costs, _provenance(file, path)


def _provenance(file: ImportanceFile, path: Path) -> dict[str, Value]:
    """The keys llama-quantize writes, with names of files where it writes the paths they had on someone's disk."""
    metadata = {"quantize.imatrix.file": text(path.name)}
    if file.datasets:
        metadata["quantize.imatrix.dataset"] = text(PureWindowsPath(file.datasets[0]).name)  # which splits at / and \
    metadata["quantize.imatrix.entries_count"] = u32(len(file.entries))
    if file.chunks > 0:
        metadata["quantize.imatrix.chunks_count"] = u32(file.chunks)
    return metadata


METHOD = Method(importance=importance)

"""The float weights behind the codes as a checkpoint, to go on from with other tools.

Out of a Hugging Face directory comes another one: the same files, tensors and order of rows, with other weights. Any
model becomes a GGUF file, in the float types that its source stores.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from quantize_cli import quants
from quantize_cli.errors import InputError, OutputError, UsageError, not_written
from quantize_cli.formats.checkpoint import Checkpoint, open_checkpoint
from quantize_cli.formats.ggml import FLOAT_TYPES, GgmlType
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard
from quantize_cli.formats.source import refuse_changed
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.formats.unfinished import new_directory
from quantize_cli.machine import processors
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.pipeline.write import free_nbytes, write
from quantize_cli.train.weights.trained_matrix import TrainedMatrix

Matrices = Mapping[str, TrainedMatrix]
"""By the names of the tensors that they take the place of."""
_BESIDE_WEIGHTS = (".json", ".model", ".jinja", ".md", ".txt")
"""Endings of what else a checkpoint is described by; code is not copied."""
_INDEX = ".safetensors.index.json"


def save_float(matrices: Matrices, source: Model, path: Path, guard: OverwriteGuard = MAY_OVERWRITE) -> None:
    """Write `source` with the matrices' float weights: a GGUF file where `path` ends so, else a directory.

    It appears whole or not at all. Raises what `refuse_bad_target` does, and InputError for a weight that the
    source's type does not hold.
    """
    refuse_bad_target(source, path)
    if path.suffix == ".gguf":
        _write_gguf(matrices, source, path, guard)
    else:
        _write_directory(matrices, source, path)


def refuse_bad_target(source: Model, path: Path) -> None:
    """UsageError where `source` cannot become what the name says, OutputError for a directory that is there."""
    if path.suffix == ".gguf":
        return
    if source.is_gguf or source.architecture is None:
        raise UsageError(f"{path}: a directory is made of a checkpoint only, not of {source.path}", hint="name a .gguf")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path}: already exists", hint="name a new directory, or an empty one")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no directory {path.parent}")


# --- a gguf file -----------------------------------------------------------------------------------------------------


def _write_gguf(matrices: Matrices, source: Model, path: Path, guard: OverwriteGuard) -> None:
    counted = Counter(tensor.type for tensor in source.tensors if len(tensor.shape) > 1)
    stored = [type_ for type_, _ in counted.most_common() if type_ in FLOAT_TYPES]
    whole = plan.make(source, recipe.named(stored[0].name if stored else GgmlType.F32.name))
    steps = [
        replace(step, type=step.tensor.type)
        if step.type is whole.recipe.default and step.tensor.type in FLOAT_TYPES
        else step
        for step in whole.steps
    ]
    types = {step.tensor.name: step.type for step in steps}
    whole = plan.lay_out_steps(whole.recipe, steps, whole.metadata, whole.sources)

    def results() -> Iterator[tuple[str, np.ndarray]]:
        for name, matrix in matrices.items():
            yield name, quants.encode(types[name], matrix.latent().cpu().numpy())

    rounding = Rounding(names=frozenset(matrices), results=results)
    write({path: whole}, Threads(processors()), rounding=rounding, guard=guard)


# --- a directory -----------------------------------------------------------------------------------------------------


def _write_directory(matrices: Matrices, source: Model, path: Path) -> None:
    checkpoint = open_checkpoint(source.path)
    files = {tensor.path for tensor in checkpoint.tensors}
    needed, free = sum(file.stat().st_size for file in files), free_nbytes(path)
    if free < needed:
        raise OutputError(f"{path}: needs {needed} bytes, its disk has {free} free")
    trained: dict[str, list[Tensor]] = defaultdict(list)
    for tensor in source.tensors:
        if tensor.name in matrices:
            trained[_stored_name(tensor)].append(tensor)
    try:
        with new_directory(path) as directory:
            for file in sorted(files):
                stored = [tensor for tensor in checkpoint.tensors if tensor.path == file]
                tensors = {one.name: _changed(one, trained[one.name], matrices) for one in stored}
                save_file(tensors, directory / file.name, _metadata(file))
            _copy_descriptions(checkpoint, {file.name for file in files}, directory)
            refuse_changed(source.files)
            directory.rename(path)
    except OSError as error:
        raise not_written(path, error) from error


def _stored_name(tensor: Tensor) -> str:
    if tensor.stored is None:
        raise InputError(f"{tensor.origin}: is in no file of the checkpoint")
    return tensor.stored.name


def _changed(stored: StoredTensor, trained: Iterable[Tensor], matrices: Matrices) -> np.ndarray:
    """A stored tensor as it becomes, in its own shape, dtype and order of rows."""
    rows = stored.rows(0, stored.row_count)
    for tensor in trained:
        latent = matrices[tensor.name].latent().cpu().numpy()
        first, values = tensor.as_stored(latent)
        with np.errstate(over="ignore"):  # what becomes infinite is looked for next
            rows[first : first + len(values)] = values.astype(stored.element)
        if not np.isfinite(rows[first : first + len(values)].astype(np.float32)).all():
            raise InputError(f"{tensor.origin}: {np.abs(latent).max():g} is more than {stored.dtype.lower()} holds")
    return rows.reshape(stored.shape)


def _metadata(file: Path) -> dict[str, str] | None:
    with safe_open(file, framework="numpy") as opened:
        metadata: dict[str, str] | None = opened.metadata()
        return metadata


def _copy_descriptions(checkpoint: Checkpoint, weights: set[str], directory: Path) -> None:
    """The files beside the weights; of indexes only one whose shards these are."""
    for entry in sorted(checkpoint.directory.iterdir()):
        if entry.suffix not in _BESIDE_WEIGHTS or (entry.name.endswith(_INDEX) and len(weights) == 1):
            continue
        file = checkpoint.file(entry.name)  # which leads nowhere outside
        if file is not None:
            shutil.copyfile(file, directory / entry.name)

"""What was trained becomes a file: the start file's plan once more, with the trained tensors' blocks.

All other tensors are copied byte for byte, and the metadata is kept but for claims, which were of the start file.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from quantize_cli.certificate.statement import is_claim
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import FileType, GgmlType
from quantize_cli.formats.gguf import shards
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard
from quantize_cli.formats.quoted import quoted
from quantize_cli.machine import processors
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline.decided import Decisions
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.plan import Step, lay_out_steps
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.pipeline.recipe import Recipe
from quantize_cli.pipeline.write import write
from quantize_cli.progress import SILENT, Report
from quantize_cli.train.weights.trained_matrix import TrainedMatrix

Matrices = Mapping[str, TrainedMatrix]
"""By the names of the tensors that they take the place of."""
_FILE_TYPE = "general.file_type"


def write_trained(
    start: Path, matrices: Matrices, output: Path, guard: OverwriteGuard = MAY_OVERWRITE, report: Report = SILENT
) -> None:
    """Make the file `output` of the GGUF file `start`, or leave all as it was.

    It holds what the forward passes of the matrices give. Raises what `trained_plan` and `pipeline.write` do.
    """
    decided = trained_plan(start, matrices)
    with report.progress(sum(step.nbytes for step in decided.plan.steps), "B", output.name) as advance:
        written = replace(report, written=advance)
        write({output: decided.plan}, Threads(processors()), written, decided.rounding, guard)


def trained_plan(start: Path, matrices: Matrices, more: Mapping[str, Value] | None = None) -> Decisions:
    """The file to be, and who gives its blocks; `more` is metadata that it has besides.

    InputError where the file has no such tensor as a matrix says it is.
    """
    model, file = open_model(start), shards.read_model(start)[0]
    tensors = {tensor.name: tensor for tensor in model.tensors}
    for name, matrix in matrices.items():
        _refuse_other(start, tensors.get(name), name, matrix)
    steps = [
        Step(tensor, tensor.type, "trained" if tensor.name in matrices else f"as in {start.name}")
        for tensor in model.tensors
    ]
    kept = shards.without_split_metadata(file.metadata)
    metadata = {key: value for key, value in kept.items() if not is_claim(key)} | dict(more or {})
    plan = lay_out_steps(_recipe(model, file.metadata), steps, metadata, model.files)
    return Decisions(plan, Rounding(names=frozenset(matrices), results=lambda: _blocks(matrices)))


def _blocks(matrices: Matrices) -> Iterator[tuple[str, np.ndarray]]:
    """One matrix after the other, so that only one's blocks are in memory."""
    return ((name, matrix.blocks()) for name, matrix in matrices.items())


def _refuse_other(start: Path, tensor: Tensor | None, name: str, matrix: TrainedMatrix) -> None:
    if tensor is None:
        raise InputError(f"{start}: has no tensor {quoted(name)}, which was trained", hint="train from this file")
    of_file = f"{tensor.type.name.lower()} {[tensor.row_count, tensor.columns]}"
    trained = f"{matrix.type.name.lower()} {list(matrix.shape)}"
    if of_file != trained:
        raise InputError(f"{tensor.origin} is {of_file}, what was trained is {trained}", hint="train from this file")


def _recipe(model: Model, metadata: Mapping[str, Value]) -> Recipe:
    """What a file of these types is called."""
    types = Counter(dict.fromkeys(GgmlType, 0))
    for tensor in model.tensors:
        types[tensor.type] += tensor.row_count * tensor.columns
    default = types.most_common(1)[0][0]
    number = metadata[_FILE_TYPE].data if _FILE_TYPE in metadata else FileType.GUESSED
    known = isinstance(number, int) and number in FileType.__members__.values()
    file_type = FileType(number) if known else FileType.GUESSED
    name = default.name if file_type is FileType.GUESSED else file_type.name
    return Recipe(name.lower(), default, file_type)

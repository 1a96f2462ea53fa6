"""check: all that is wrong with a model, before any heavy work: nothing but headers and descriptions is read.

Only where numbers are to be finite are all of them read.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from quantize_cli import machine, quants, schemes
from quantize_cli.budget.memory import memory_besides_file
from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import count, with_defaults
from quantize_cli.families.decoder.slots import NoSlotError, is_buffer
from quantize_cli.formats.checkpoint import Checkpoint, open_present
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.ggml import BLOCK_SHAPE, FLOAT_TYPES, row_nbytes
from quantize_cli.formats.gguf.layout import text
from quantize_cli.formats.gguf.magic import is_gguf
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.adapter_tensors import refuse_adapter
from quantize_cli.model.source import Model, family_of, open_model, placed, tokenizer_of
from quantize_cli.model.tensor import Tensor, refuse_not_finite
from quantize_cli.model.wrapper_names import without_wrappers
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.fallbacks import fitting
from quantize_cli.pipeline.recipe import Recipe
from quantize_cli.pipeline.roles import why_kept
from quantize_cli.pipeline.write import free_nbytes
from quantize_cli.progress import SILENT, Report

_READ_NBYTES = 16 << 20
_MOST_NAMED = 100
"""Tensors without a place that are named, each after another look at all."""
_ROOM_HINT = "free some, or write elsewhere"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    of: str
    """What it is about: shards, config, family, tensors, tokenizer, types, quantized, numbers, disk or memory."""
    message: str
    hint: str | None = None
    is_refused: bool = True
    """Whether convert refuses the model for it; otherwise the file will be worse than it could be."""


@dataclass(frozen=True)
class Needs:
    """What a file would take, in bytes; None where nothing tells."""

    disk: int | None = None
    disk_free: int | None = None
    memory: int | None = None
    """To run it at all positions that it was trained on."""
    memory_of_machine: int | None = None


@dataclass(frozen=True)
class Checked:
    """What was found about a model."""

    path: Path
    architecture: str | None
    recipe: str
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    """What convert would warn of."""
    needs: Needs


class _Problems:
    """Problems in the order in which they are found."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, of: str, message: str, hint: str | None = None, is_refused: bool = True) -> None:
        self.found.append(Problem(of, message, hint, is_refused))

    @contextmanager
    def catching(self, of: str) -> Iterator[None]:
        """What is raised within becomes a problem."""
        try:
            yield
        except (InputError, FormatError) as error:
            self.add(of, str(error), error.hint)


def check(path: Path, type_: str, finite: bool = False, report: Report = SILENT) -> Checked:
    """All that is wrong with the model at `path` for a file by the mix `type_` in the current directory.

    `finite` reads all numbers as well. InputError and FormatError for what cannot be read at all, UsageError for an
    unknown mix.
    """
    chosen, problems = recipe.named(type_), _Problems()
    model = open_model(path) if is_gguf(path) else _checkpoint(path, problems)
    if model is None:
        return Checked(path, None, chosen.name, tuple(problems.found), (), Needs())
    _check_types(model, chosen, problems)
    needs = _needs(model, chosen, problems)
    if finite:
        _check_numbers(model.tensors, problems, report)
    return Checked(path, model.architecture, chosen.name, tuple(problems.found), model.warnings, needs)


def _checkpoint(path: Path, problems: _Problems) -> Model | None:
    """The model with as much of it as can be read; None where no family reads it, or tensors are missing."""
    checkpoint, missing = open_present(path)
    refuse_adapter(checkpoint)
    for shard in missing:
        problems.add("shards", f"{checkpoint.directory}: shard {quoted(shard)} is missing", "download it")
    if checkpoint.config is None:
        problems.add("config", f"{path}: no config.json beside it, so no engine will know the model", None, False)
        return None if missing else open_model(path)
    with problems.catching("family"):
        family, _ = family_of(checkpoint, checkpoint.config)
        return _of_family(checkpoint, family, bool(missing), problems)
    return None


def _of_family(checkpoint: Checkpoint, family: ModuleType, is_partial: bool, problems: _Problems) -> Model | None:
    assert checkpoint.config is not None
    config = with_defaults(checkpoint.config, family)
    tensors = _placed(checkpoint, config, family, is_partial, problems)
    with problems.catching("config"):
        family.remarks(config, tensors)
    with problems.catching("tokenizer"):
        embedded = (tensor.shape[0] for tensor in tensors if tensor.name == "token_embd.weight")
        rows = next(embedded, None) or count(config, "vocab_size")
        tokenizer_of(checkpoint, {**config, "vocab_size": rows}, family)
    if not problems.found:
        with problems.catching("model"):
            return open_model(checkpoint.path)
    with problems.catching("config"):
        metadata = {"general.architecture": text(family.ARCHITECTURE), **family.metadata(config)}
        return Model(checkpoint.path, family.ARCHITECTURE, metadata, tensors) if tensors else None
    return None


def _placed(
    checkpoint: Checkpoint, config: dict[str, Any], family: ModuleType, is_partial: bool, problems: _Problems
) -> list[Tensor]:
    """The tensors under their GGUF names; none where some are missing, or contradict the config."""
    tensors: list[Tensor] = []
    with problems.catching("tensors"):
        stored = [tensor for tensor in checkpoint.tensors if not is_buffer(tensor.name)]
        tensors, _ = without_wrappers(schemes.tensors_of(checkpoint, stored)[0])
    for _ in range(min(_MOST_NAMED, len(tensors))):
        try:
            return placed(config, tensors, family)[0]
        except NoSlotError as error:
            problems.add("tensors", str(error), error.hint)
            tensors = [tensor for tensor in tensors if tensor.origin != error.origin]
        except InputError as error:
            if not is_partial:  # else a tensor is missing, as its shard is
                problems.add("tensors", str(error), error.hint)
            return []
    return []


def _check_types(model: Model, chosen: Recipe, problems: _Problems) -> None:
    """Types that others stand in for, and weights that are quantized already."""
    counts = Counter(tensor.scheme for tensor in model.tensors if tensor.scheme)
    for scheme, times in counts.items():
        message = f"{model.path}: {times} of {len(model.tensors)} tensors are quantized already ({scheme})"
        problems.add("quantized", message, "--type keep rounds least", False)
    blocks = [t for t in model.tensors if t.type not in FLOAT_TYPES and BLOCK_SHAPE[t.type].weights > 1]
    if blocks:
        message = f"{model.path}: {len(blocks)} of {len(model.tensors)} tensors are in types of blocks already"
        problems.add("quantized", message, "quantize from the original weights, or take --allow-requantize")
    candidates = [tensor for tensor in model.tensors if why_kept(tensor) is None]
    types = chosen.choose(candidates, model.metadata, True)
    misfits: dict[str, list[str]] = defaultdict(list)
    for tensor in candidates:
        substitute, misfit = fitting(types[tensor.name][0], tensor.columns)
        if misfit:
            misfits[f"{misfit}, {substitute.name.lower()} stands in"].append(tensor.name)
    for misfit, names in misfits.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        problems.add("types", f"{quoted(names[0])}{more}: {misfit}", "--type q8_0 or q4_0 has blocks of 32", False)


def _needs(model: Model, chosen: Recipe, problems: _Problems) -> Needs:
    """What the file and running it would take, and whether there is as much."""
    output, needs = Path.cwd() / "model.gguf", Needs(memory_of_machine=machine.memory_nbytes())
    already = any(problem.of == "quantized" for problem in problems.found)
    with problems.catching("types"):
        needs = replace(needs, disk=plan.make(model, chosen, requantize=already).nbytes, disk_free=free_nbytes(output))
    if needs.disk is None:
        return needs
    if needs.disk_free is not None and needs.disk_free < needs.disk:
        message = f"{output.parent}: the file needs {needs.disk} bytes, the disk has {needs.disk_free} free"
        problems.add("disk", message, _ROOM_HINT)
    try:
        needs = replace(needs, memory=needs.disk + memory_besides_file(model).nbytes)
    except (InputError, FormatError):  # an architecture that our runtime does not know: nothing tells
        return needs
    if needs.memory and needs.memory_of_machine and needs.memory > needs.memory_of_machine:
        message = f"to run it at all positions takes {needs.memory} bytes, the machine has {needs.memory_of_machine}"
        problems.add("memory", message, "a smaller type, or a shorter context", False)
    return needs


def _check_numbers(tensors: Sequence[Tensor], problems: _Problems, report: Report) -> None:
    """Of each tensor the first number that is not finite."""
    with report.progress(len(tensors), " tensors", "check") as advance:
        for tensor in tensors:
            with problems.catching("numbers"):
                _refuse_not_finite(tensor)
            advance(1)


def _refuse_not_finite(tensor: Tensor) -> None:
    if tensor.type not in quants.supported():
        return
    step = max(1, _READ_NBYTES // max(1, row_nbytes(tensor.type, tensor.columns)))
    for start in range(0, tensor.row_count, step):
        rows = tensor.read(start, min(start + step, tensor.row_count))
        refuse_not_finite(quants.decode(tensor.type, rows), tensor.origin, tensor.first_row + start)

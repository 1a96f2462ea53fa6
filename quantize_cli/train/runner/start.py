"""What training starts from: a GGUF file of the same model, made for it or named by a person."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli import plugins
from quantize_cli.budget.rules import to_toml
from quantize_cli.calibration.runner.methods import DEFAULT, find
from quantize_cli.certificate import statement
from quantize_cli.certificate.digest import weights_sha256
from quantize_cli.errors import InputError, QuantizeError, UsageError
from quantize_cli.formats.ggml import FLOAT_TYPES, FileType, GgmlType
from quantize_cli.formats.gguf import shards
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.output import MAY_OVERWRITE
from quantize_cli.formats.quoted import quoted
from quantize_cli.model import settings
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, write_planned
from quantize_cli.pipeline import recipe as recipes
from quantize_cli.pipeline.decided import PlannedConversion
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.job import Job, chosen_recipe
from quantize_cli.pipeline.recipe import Recipe, Rule
from quantize_cli.pipeline.recipe_text import parse_recipe
from quantize_cli.quants import decode
from quantize_cli.train.data.json_lines import SUFFIXES
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Writing

_CALIBRATION_TOKENS = 1 << 16
"""What rounding for a text needs; more of the training text would take time and change little."""
_OTHER_METHODS = "gptq, imatrix, zeroquant or hqq"
_OF_THE_MIX = ("general.file_type", "general.quantization_version")


@dataclass(frozen=True)
class Start:
    """The file, and what a certificate says of how it was made."""

    model: Model
    recipe: Recipe
    method: str
    calibration: statement.Calibration | None
    metadata: Mapping[str, Value]
    """All of the file's, without claims."""

    def table(self) -> dict[str, Any]:
        """What the file itself does not tell, as JSON can hold it."""
        calibration = None if self.calibration is None else vars(self.calibration)
        return {
            "recipe": self.recipe.name, "recipe_toml": to_toml(self.recipe), "method": self.method,
            "calibration": calibration,
        }  # fmt: skip


def rounding_job(job: TrainJob, path: Path) -> Job:
    """The conversion that makes a start file at `path`: by default with error feedback on the texts of the training.

    UsageError for methods that move scales, and where a method has no text to round for.
    """
    conversion = job.conversion
    methods, texts, chunks = conversion.methods, conversion.texts, conversion.chunks
    for name in methods:
        if name in plugins.names("calibration") and find(name).fold:
            raise UsageError(f"--start-method {name}: changes the float model, which training does not", _OTHER_METHODS)
    if not (methods or conversion.imatrix):
        methods = (DEFAULT,)
    if not texts and not conversion.imatrix and any(not _goes_without_text(name) for name in methods):
        texts = tuple(text for text in job.data if text.suffix.lower() not in (*SUFFIXES, ".json"))
        if not texts:
            raise UsageError(
                f"--start-method {methods[0]}: needs a text to round for, {job.data[0]} is none",
                hint="--calibrate FILE, or --start FILE",
            )
        chunks = chunks or max(2, _CALIBRATION_TOKENS // (job.context * len(texts)))
    context = (conversion.context or job.context) if texts else None
    return replace(
        conversion, output=path, methods=methods, texts=texts, chunks=chunks, context=context, certify=None,
        split_size=None,
    )  # fmt: skip


def made_start(planned: PlannedConversion, conversion: Job, writing: Writing) -> Start:
    """The file that `rounding_job` plans, written."""
    write_planned(planned, Threads(writing.threads), MAY_OVERWRITE, writing.report)
    decided = planned.decided
    return _opened(planned.output, conversion, decided.plan.recipe, decided.method, decided.calibration)


def reopened_start(path: Path, conversion: Job, table: Mapping[str, Any]) -> Start:
    """The file that `made_start` made before an interruption, with what `Start.table` gave."""
    calibration = table["calibration"]
    claimed = None if calibration is None else statement.Calibration(**calibration)
    recipe = recipes.parse(table["recipe_toml"], table["recipe"].removesuffix(", pure"))
    return _opened(path, conversion, replace(recipe, name=table["recipe"]), table["method"], claimed)


def named_start(path: Path, source: Model, conversion: Job) -> Start:
    """A file of someone's own; InputError unless it is of the model at `source`, and of the types asked for."""
    file, _ = shards.read_model(path)
    claims = None
    if any(statement.is_claim(key) for key in file.metadata):
        claims = statement.read(str(path), file.metadata)
        if claims.source != weights_sha256(source.tensors):
            raise InputError(f"{path}: is made of other weights than {source.path}, as its source.sha256 says")
    model = open_model(path)
    refuse_other_model(model, source)
    recipe = _asked(conversion, model, source) or (claims and _readable(claims.recipe)) or _own(model, file.metadata)
    method, calibration = ("a file", None) if claims is None else (claims.method, claims.calibration)
    return _opened(path, conversion, recipe, method, calibration)


def refuse_other_model(model: Model, source: Model) -> None:
    """InputError unless both have the same tensors, and all that is not quantized is the same in both."""
    tensors = {tensor.name: tensor for tensor in source.tensors}
    differing = tensors.keys() ^ {tensor.name for tensor in model.tensors}
    if differing:
        raise InputError(f"{model.path}: only one of it and {source.path} has {quoted(min(differing))}")
    for tensor in model.tensors:
        original = tensors[tensor.name]
        if tensor.shape != original.shape:
            raise InputError(f"{tensor.origin} is {list(tensor.shape)}, {list(original.shape)} in {source.path}")
        if len(tensor.shape) > 1:
            continue
        held, there = (decode(each.type, each.read(0, each.row_count)) for each in (tensor, original))
        if not np.array_equal(held, there):
            raise InputError(
                f"{tensor.origin} has other numbers than in {source.path}",
                hint="a file whose scales were moved, as by awq or smoothquant, cannot be trained",
            )


def _opened(
    path: Path, conversion: Job, recipe: Recipe, method: str, calibration: statement.Calibration | None
) -> Start:
    model = open_model(path)
    file, _ = shards.read_model(path)
    of_mix = {key: file.metadata[key] for key in _OF_THE_MIX if key in file.metadata}
    metadata = settings.apply_settings({**model.metadata, **of_mix}, conversion.settings)
    return Start(model, recipe, method, calibration, metadata)


def _asked(conversion: Job, model: Model, source: Model) -> Recipe | None:
    """The recipe that the job names, if it does; InputError when the file has other types."""
    if not (conversion.type or conversion.bits or conversion.recipe):
        return None
    recipe = chosen_recipe(conversion)
    held = {tensor.name: tensor.type for tensor in model.tensors}
    for step in plan.decide(source, recipe, True, True):
        if len(step.tensor.shape) > 1 and held[step.tensor.name] is not step.type:
            raise InputError(
                f"{model.path}: tensor {quoted(step.tensor.name)} is {held[step.tensor.name].name.lower()}, "
                f"not {step.type.name.lower()} as of {recipe.name}",
                hint="leave the type to the file",
            )
    return recipe


def _readable(text: str) -> Recipe | None:
    try:
        return parse_recipe(text)
    except QuantizeError:
        return None


def _own(model: Model, metadata: Mapping[str, Value]) -> Recipe:
    """A recipe that gives each matrix the type it has in the file."""
    matrices = [tensor for tensor in model.tensors if len(tensor.shape) > 1]
    counts = Counter(tensor.type for tensor in matrices if tensor.type not in FLOAT_TYPES)
    if not counts:
        raise InputError(f"{model.path}: has no quantized tensor to train")
    default: GgmlType = counts.most_common(1)[0][0]
    overrides = tuple(Rule(tensor.type, tensor.name) for tensor in matrices if tensor.type is not default)
    number = metadata.get("general.file_type")
    file_type = FileType(number.data) if number is not None and number.data in list(FileType) else FileType.GUESSED
    return Recipe(model.path.stem, default, file_type, overrides=overrides)


def _goes_without_text(method: str) -> bool:
    return method not in plugins.names("calibration") or find(method).encode is not None

"""The Python API: what the commands do, as functions over paths.

Every function raises what `quantize_cli.errors` and `quantize_cli.formats.errors` hold, prints nothing, and reports
its progress to a `Report` if there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantize_cli.progress import SILENT, Report

if TYPE_CHECKING:
    from quantize_cli.budget.analysis import Frontier
    from quantize_cli.budget.sensitivity import Sensitivities
    from quantize_cli.evaluation.evaluation import Evaluation
    from quantize_cli.formats.ggml import GgmlType
    from quantize_cli.formats.imatrix import ImportanceFile
    from quantize_cli.loaded_model import LoadedModel
    from quantize_cli.pipeline import Converted
    from quantize_cli.pipeline.job import Job
    from quantize_cli.pipeline.plan import Plan
    from quantize_cli.train.runner.job import TrainJob
    from quantize_cli.train.runner.train import Trained

PathLike = str | Path
_PATHS = ("output", "recipe", "imatrix", "certify")
_TUPLES = ("lora", "tensors", "methods", "types", "settings")
_TOKENS_RUN = 1024
"""Tokens on which `analyze` runs the model with each tensor rounded."""


def convert(source: PathLike, output: PathLike | None = None, *, force: bool = False, **options: Any) -> "Converted":
    """Convert a checkpoint, or a float GGUF file, to a quantized GGUF file.

    `options` are the fields of `quantize_cli.pipeline.job.Job`: `type="q4_k_m"`, `bits=4`, `texts=["wiki.txt"]` to
    calibrate on, `size="4.5GB"`, ..., and `report`. `force` replaces a file that is there. Gives what was planned and
    how long it took.
    """
    from quantize_cli.pipeline import convert as run

    report: Report = options.pop("report", SILENT)
    return run(job(source, output=output, **options), report, force=force)


def plan(source: PathLike, **options: Any) -> "Plan":
    """Everything `convert` with the same options would decide: type, size, offset and reason of each tensor."""
    from quantize_cli.pipeline import plan_conversion

    report: Report = options.pop("report", SILENT)
    return plan_conversion(job(source, **options), report).plan


def job(source: PathLike, **options: Any) -> "Job":
    """The job that these options describe; TypeError for an option that no job has."""
    from quantize_cli.pipeline.job import Job

    values = {name: value for name, value in options.items() if value is not None}
    for name in values.keys() & set(_PATHS):
        values[name] = Path(values[name])
    for name in values.keys() & set(_TUPLES):
        values[name] = (values[name],) if isinstance(values[name], str) else tuple(values[name])
    if "texts" in values:
        values["texts"] = _paths(values["texts"])
    return Job(Path(source), **values)


def inspect(path: PathLike) -> dict[str, Any]:
    """What a model file says: metadata, and each tensor's type, shape, size and offset; no weight is read."""
    from quantize_cli.model.description import describe

    return describe(Path(path))


def load(path: PathLike, *, threads: int | None = None, report: Report = SILENT) -> "LoadedModel":
    """The model at `path`, a GGUF file or a float checkpoint, ready to run."""
    from quantize_cli.loaded_model import load as loaded

    return loaded(Path(path), threads, report)


@dataclass(frozen=True)
class Calibration:
    """An importance matrix that was collected."""

    importance: "ImportanceFile"
    resumed: int
    """Chunks of an earlier run that are in it."""


def calibrate(
    model: PathLike,
    texts: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    process_output: bool = False,
    merge: PathLike | Sequence[PathLike] = (),
    resume: bool = False,
    save_every: int = 32,
    force: bool = False,
    report: Report = SILENT,
) -> Calibration:
    """Collect an importance matrix: what the model's matrices multiply while it reads the texts, by column.

    `process_output` includes the output matrix, `merge` adds the sums and counts of other files, `resume` continues
    the file at `output`, and `save_every` is the number of chunks after which it is written.
    """
    from quantize_cli.calibration.statistics.calibration import CollectionRequest, prepare, run
    from quantize_cli.errors import UsageError
    from quantize_cli.pipeline.outputs import Outputs

    if resume and force:
        raise UsageError("--resume and --force: one continues OUT, the other replaces it")
    path, read, merged, out = Path(model), _paths(texts), _paths(merge), Path(output)
    outputs = Outputs((path, *read, *merged), force, report.note, "--resume continues it, --force replaces it")
    if resume:
        outputs.resuming(out)
    outputs.refuse_bad((out,))
    prepared = prepare(
        CollectionRequest(
            path, read, out, context, chunks, process_output, resume, merged, save_every, special, outputs.guard
        ),
        report.note,
    )  # fmt: skip
    for warning in prepared.warnings:
        report.warn(warning)
    outputs.sweep((out,))
    with report.progress(len(prepared.chunks) - prepared.done, " chunks", path.name) as advance:
        return Calibration(run(prepared, advance), prepared.done)


@dataclass(frozen=True)
class Analysis:
    """What rounding each tensor of a model costs."""

    context: int
    """Tokens of a chunk."""
    chunks: int
    types: "tuple[GgmlType, ...]"
    """That tensors may have."""
    sensitivities: "Sensitivities"
    frontier: "Frontier"
    """Sizes and predicted losses of the files that the model may become."""


def analyze(
    model: PathLike,
    texts: PathLike | Sequence[PathLike],
    *,
    types: Sequence[str] = (),
    context: int | None = None,
    chunks: int = 8,
    special: bool = False,
    report: Report = SILENT,
) -> Analysis:
    """Measure what rounding each tensor of a float model costs, in each of `types` or of those a budget chooses from.

    `chunks` of each text are read at most.
    """
    from quantize_cli.budget.analysis import frontier
    from quantize_cli.budget.options import quantizable_tensors, type_choices
    from quantize_cli.budget.sensitivity import TYPES, Effort, measure
    from quantize_cli.errors import UsageError
    from quantize_cli.evaluation.context import chunk_tokens, long_context_warnings
    from quantize_cli.evaluation.corpus import Reading, read_texts
    from quantize_cli.model.source import open_model
    from quantize_cli.pipeline.budget import named_types
    from quantize_cli.tokenizers import load_tokenizer

    if not texts:
        raise UsageError("missing option '--text'", hint="--text FILE, a UTF-8 text to predict")
    candidates = named_types(types) if types else TYPES
    source = open_model(Path(model))
    type_choices(source, {})  # refuses what is quantized already
    length = chunk_tokens(context, [source])
    for warning in (*source.warnings, *long_context_warnings(length, [source])):
        report.warn(warning)
    tokenizer = load_tokenizer(source.metadata)
    tokens, _ = read_texts(_paths(texts), tokenizer, length, chunks, Reading(special, report.warn))
    with report.progress(len(quantizable_tensors(source)), " tensors", "analyze") as advance:
        effort = Effort(chunks=max(1, _TOKENS_RUN // length))
        costs = measure(source, tokens, candidates, report=advance, effort=effort)
    return Analysis(length, len(tokens), candidates, costs, frontier(source, costs))


def evaluate(
    model: PathLike,
    texts: PathLike | Sequence[PathLike],
    *,
    reference: PathLike | None = None,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    report: Report = SILENT,
) -> "Evaluation":
    """The perplexity of a model on texts, and its divergence from a reference if one is given."""
    return compare([model], texts, reference=reference, context=context, chunks=chunks, special=special, report=report)


def compare(
    models: Sequence[PathLike],
    texts: PathLike | Sequence[PathLike],
    *,
    reference: PathLike | None = None,
    context: int | None = None,
    chunks: int | None = None,
    special: bool = False,
    report: Report = SILENT,
) -> "Evaluation":
    """Several models on the same texts, side by side; the first is the reference unless another is named."""
    from quantize_cli.evaluation.evaluation import EvaluationRequest, evaluate

    if reference is None and len(models) > 1:
        reference = models[0]
    against = None if reference is None else Path(reference)
    return evaluate(EvaluationRequest(_paths(models), _paths(texts), context, chunks, against, special=special), report)


def train(
    source: PathLike,
    texts: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    force: bool = False,
    dry_run: bool = False,
    report: Report = SILENT,
    **options: Any,
) -> "Trained":
    """Train what a quantized file holds, until it predicts what the float model does; needs the extra `train` (torch).

    `texts` are plain texts, or JSON lines with a `text` or `messages` each. `options` are the fields of
    `quantize_cli.train.runner.job.TrainJob`, as `method="qat"`, `steps=400` or `resume=True`, and those of
    `quantize_cli.pipeline.job.Job` for the file that training starts from, as `type="q2_k"`; the texts that it is
    rounded for are called `calibration` here, and are by default those of the training. `force` replaces what is there.
    With `dry_run` nothing is written, and the result says what would be done and how much memory it takes.
    """
    from quantize_cli.train.runner.train import train as run

    return run(train_job(source, texts, output, **options), report, force=force, dry_run=dry_run)


def train_job(
    source: PathLike, data: PathLike | Sequence[PathLike], output: PathLike | None, **options: Any
) -> "TrainJob":
    """The training that these options describe; TypeError for one that it has not, UsageError without torch.

    `calibration` are the texts that the file to start from is rounded for.
    """
    from dataclasses import fields
    from importlib.util import find_spec

    from quantize_cli.errors import UsageError

    if find_spec("torch") is None:
        raise UsageError("training needs torch", hint="pip install 'quantize-cli[train]'")
    from quantize_cli.train.runner.job import TrainJob

    own = {field.name for field in fields(TrainJob)} - {"conversion", "data"}
    values = {name: options.pop(name) for name in options.keys() & own}
    values = {name: value for name, value in values.items() if value is not None}
    for name in values.keys() & {"start", "save_float"}:
        values[name] = Path(values[name])
    if "targets" in values:
        values["targets"] = (values["targets"],) if isinstance(values["targets"], str) else tuple(values["targets"])
    conversion = job(source, output=output, texts=options.pop("calibration", None), **options)
    return TrainJob(conversion, _paths(data), **values)


def _paths(named: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    return (Path(named),) if isinstance(named, str | Path) else tuple(map(Path, named))

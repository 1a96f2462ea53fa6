"""Everything that can be said, refused and counted before a training begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from quantize_cli import plugins
from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import file_sha256, measurable_chunks
from quantize_cli.certificate.digest import weights_sha256
from quantize_cli.errors import UsageError
from quantize_cli.evaluation import context as contexts
from quantize_cli.evaluation.corpus import Reading
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.machine import processors
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan_conversion
from quantize_cli.pipeline.decided import PlannedConversion
from quantize_cli.pipeline.load import load
from quantize_cli.pipeline.outputs import Outputs
from quantize_cli.progress import Report
from quantize_cli.runtime.hyperparameters import read_hyperparameters
from quantize_cli.runtime.only_run import refuse_only_run
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.data.reading import Cutting, read_examples
from quantize_cli.train.runner import memory
from quantize_cli.train.runner.checkpoint import Checkpoints
from quantize_cli.train.runner.device import available_nbytes, chosen_device
from quantize_cli.train.runner.float_checkpoint import refuse_bad_target
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.memory import Bound
from quantize_cli.train.runner.phase import OwnOutcome, PhaseOutline, TrainingMethod, Writing
from quantize_cli.train.runner.start import Start, named_start, rounding_job


@dataclass(frozen=True)
class Prepared:
    """A job whose inputs are there and fit together."""

    job: TrainJob
    method: TrainingMethod
    output: Path
    source: Model = field(repr=False)
    examples: Examples = field(repr=False)
    outline: Sequence[PhaseOutline]
    bound: Bound
    start: "FileToBe"
    device: torch.device
    checkpoints: Checkpoints
    outputs: Outputs
    report: Report

    @property
    def writing(self) -> Writing:
        return Writing(self.outputs.guard, self.threads, self.report)

    @property
    def threads(self) -> int:
        return self.job.conversion.threads or processors()

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.outline)

    @property
    def tokens(self) -> int:
        """That all steps see."""
        return self.steps * self.job.batch * self.job.context

    def claimed(self, steps: int) -> statement.Training:
        """What a certificate says of the training; of several files, all their names and the digest of their tokens."""
        job = self.job
        digest = file_sha256(job.data[0]) if len(job.data) == 1 else self.examples.digest
        name = statement.is_readable(", ".join(path.name for path in job.data), statement.LONGEST_NAME)
        return statement.Training(name, digest, job.method, steps, steps * job.batch * job.context)

    def record(self) -> dict[str, Any]:
        """What must be the same for a training to be gone on with."""
        return {
            **self.job.table(), "device": self.device.type, "data_sha256": self.examples.digest,
            "source_sha256": weights_sha256(self.source.tensors), "torch": torch.__version__,
            "threads": self.threads,
        }  # fmt: skip


def prepare(job: TrainJob, report: Report, force: bool) -> Prepared:
    """Open everything and write nothing; UsageError, InputError, FormatError or OutputError for what does not do."""
    method = find(job.method)
    _refuse_nonsense(job, force)
    output, outputs, checkpoints = _outputs(job, method, report, force)
    device = chosen_device(job.device)
    _, source = load(job.conversion, report)
    for warning in contexts.long_context_warnings(job.context, [source]):
        report.warn(warning)
    if job.save_float is not None:
        refuse_bad_target(source, job.save_float)
    if job.conversion.certify is not None:
        measurable_chunks(source, job.conversion.certify, contexts.chunk_tokens(None, [source]))
    refuse_only_run(source)
    cutting = Cutting(job.context, job.held_out, job.seed)
    examples = read_examples(job.data, source, cutting, Reading(job.conversion.special, report.warn))
    start = _file_to_be(job, method, source, checkpoints, report)
    outline = method.outline(job, read_hyperparameters(source).layers)
    sizes = memory.sizes_of(source, start.types)
    limit = memory.bound(job, outline, sizes, len(examples.tokens), start.rounded_for)
    memory.refuse_small(limit, available_nbytes(device), "the GPU" if device.type == "cuda" else "the machine")
    return Prepared(job, method, output, source, examples, outline, limit, start, device, checkpoints, outputs, report)


def _outputs(job: TrainJob, method: TrainingMethod, report: Report, force: bool) -> tuple[Path, Outputs, Checkpoints]:
    output = job.conversion.output
    if output is None:
        raise UsageError("missing option '--output'", hint="--output OUT.gguf")
    outputs = Outputs((*job.conversion.inputs, *job.data, job.start), force, report.note)
    made = method.refuse(job) if isinstance(method, OwnOutcome) else (output,)
    outputs.refuse_bad((*made, job.save_float))
    checkpoints = Checkpoints(output)
    checkpoints.refuse_existing(job.resume, force)
    return output, outputs, checkpoints


def _refuse_nonsense(job: TrainJob, force: bool) -> None:
    """UsageError for numbers that cannot be meant."""
    if not job.data:
        raise UsageError("missing option '--text'", hint="--text FILE, to train on")
    if job.resume and force:
        raise UsageError("--resume and --force: one continues what was begun, the other starts again")
    least = {"--steps": job.steps, "--block-steps": job.block_steps, "--batch": job.batch, "--patience": job.patience}
    for option, number in least.items():
        if number is not None and number < 1:
            raise UsageError(f"{option} {number}: must be at least 1")
    if job.learning_rate is not None and not 0 < job.learning_rate < float("inf"):
        raise UsageError(f"--learning-rate {job.learning_rate:g}: must be above 0")


@dataclass(frozen=True)
class FileToBe:
    """The file that training starts from, before it is there."""

    types: Mapping[str, GgmlType] = field(default_factory=dict, repr=False)
    """Of its tensors; none where there will be no file."""
    nbytes: int = 0
    planned: PlannedConversion | None = field(default=None, repr=False)
    """How it is made, where it is made."""
    named: Start | None = field(default=None, repr=False)
    """A file of someone's own."""

    @property
    def rounded_for(self) -> int:
        """Tokens of the text that it is rounded for, where it is."""
        calibration = None if self.planned is None else self.planned.decided.calibration
        return 0 if calibration is None else calibration.tokens


def _file_to_be(
    job: TrainJob, method: TrainingMethod, source: Model, checkpoints: Checkpoints, report: Report
) -> FileToBe:
    if isinstance(method, OwnOutcome) and not method.needs_start(job):
        return FileToBe()
    there = job.start or (checkpoints.start if job.resume and checkpoints.start.exists() else None)
    if there is not None:
        named = None if job.start is None else named_start(there, source, job.conversion)
        types = {tensor.name: tensor.type for tensor in open_model(there).tensors}
        return FileToBe(types, there.stat().st_size, named=named)
    planned = plan_conversion(rounding_job(job, checkpoints.start), report)
    return FileToBe({step.tensor.name: step.type for step in planned.plan.steps}, planned.plan.nbytes, planned)


def find(name: str) -> TrainingMethod:
    """The method of that name; UsageError when there is none."""
    known = plugins.names("train")
    if name not in known:
        raise UsageError(f"--method {name}: not known", hint="known: " + ", ".join(known))
    method: TrainingMethod = plugins.load("train", name).METHOD
    return method

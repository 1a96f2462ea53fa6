"""A training from its job to its files: prepare, start, train phase after phase, write."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from quantize_cli.certificate.digest import stored_sha256
from quantize_cli.certificate.statement import Certificate
from quantize_cli.formats.source import refuse_changed
from quantize_cli.model.source import open_model
from quantize_cli.progress import SILENT, Report
from quantize_cli.train.runner.assemble import assemble
from quantize_cli.train.runner.device import peak_nbytes, reproducible
from quantize_cli.train.runner.export import TrainedModel, write_trained
from quantize_cli.train.runner.float_checkpoint import save_float
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Models, OwnOutcome, Training
from quantize_cli.train.runner.phases import TrainedPhase, run_phases
from quantize_cli.train.runner.prepare import Prepared, prepare
from quantize_cli.train.runner.start import Start, made_start, reopened_start


@dataclass(frozen=True)
class Trained:
    """What a training made, or would make."""

    prepared: Prepared = field(repr=False)
    phases: tuple[TrainedPhase, ...] = ()
    seconds: float = 0.0
    """All in all, without what was done before an interruption."""
    peak_nbytes: int = 0
    """The most memory: of the GPU, else of this process."""
    certificate: Certificate | None = None

    @property
    def output(self) -> Path:
        return self.prepared.output

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def tokens(self) -> int:
        """That the steps saw."""
        return self.steps * self.prepared.job.batch * self.prepared.job.context

    @property
    def nbytes(self) -> int:
        """Of the file at the end; 0 where the method's outcome is another."""
        return self.output.stat().st_size if self.phases and self.output.is_file() else self.prepared.start.nbytes

    @property
    def loss_before(self) -> float | None:
        """On held-out text when the last phase that watched it began, None where none did."""
        return next((phase.before for phase in self.phases[::-1] if phase.looks), None)

    @property
    def loss_after(self) -> float | None:
        """Of the parameters that were kept."""
        return next((phase.after for phase in self.phases[::-1] if phase.looks), None)


def train(job: TrainJob, report: Report = SILENT, *, force: bool = False, dry_run: bool = False) -> Trained:
    """Do a job: its files appear at the end, and until then what is reached lies in OUT.training.

    `force` replaces files and what another training left, `dry_run` writes nothing. On one device, with as many threads
    and the same torch, the same job has the same bits, whether it was interrupted or not.

    UsageError, InputError, FormatError or OutputError say what was wrong with the job, its inputs, or its outputs.
    """
    begun = time.monotonic()
    prepared = prepare(job, report, force)
    if dry_run:
        return Trained(prepared)
    prepared.outputs.sweep((prepared.output, job.save_float))
    with reproducible(job.seed, prepared.threads):
        start = _start(prepared)
        models = Models(prepared.source, None if start is None else start.model)
        method, examples, device = prepared.method, prepared.examples, prepared.device
        make = method.assemble if isinstance(method, OwnOutcome) else assemble
        training = make(job, models, examples, device)
        phases = run_phases(method, training, prepared.checkpoints, report)
        refuse_changed(prepared.source.files)
        claims = _write(prepared, start, training, sum(phase.steps for phase in phases))
    prepared.checkpoints.clear()
    return Trained(prepared, phases, time.monotonic() - begun, peak_nbytes(device), claims)


def _start(prepared: Prepared) -> Start | None:
    """The file that training starts from: named, made now, or made before an interruption."""
    job, checkpoints, method = prepared.job, prepared.checkpoints, prepared.method
    goes_on, record = checkpoints.prepare(job.resume), prepared.record()
    if goes_on:
        checkpoints.refuse_other(record, prepared.report)
    if isinstance(method, OwnOutcome) and not method.needs_start(job):
        start = None
    elif prepared.start.named is not None:
        start = prepared.start.named
    elif goes_on:
        start = reopened_start(checkpoints.start, job.conversion, checkpoints.start_table())
    else:
        assert prepared.start.planned is not None
        start = made_start(prepared.start.planned, job.conversion, prepared.writing)
    digest = None if start is None else stored_sha256(start.model.tensors)
    if goes_on:
        checkpoints.refuse_other_start(digest)
    else:
        checkpoints.write_record(record, digest, {} if start is None else start.table())
    return start


def _write(prepared: Prepared, start: Start | None, training: Training, steps: int) -> Certificate | None:
    """The files at the end; what it gives is the certificate, where one is asked for."""
    job, method, writing = prepared.job, prepared.method, prepared.writing
    if isinstance(method, OwnOutcome):
        method.write(training, Models(prepared.source, None if start is None else start.model), writing)
        return None
    assert start is not None
    # A certificate is about the source as it is stored.
    model = TrainedModel(open_model(job.conversion.source), start, training.matrices, prepared.claimed(steps))
    if job.save_float is not None:
        save_float(training.matrices, model.source, job.save_float, writing.guard)
    _, claims = write_trained(model, prepared.output, job.conversion.certify, writing)
    return claims

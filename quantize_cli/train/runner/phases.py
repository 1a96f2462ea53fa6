"""A method's phases, one after the other: each is trained, or taken as it was at its end before an interruption."""

import time
from dataclasses import dataclass

from quantize_cli.progress import Report
from quantize_cli.train.runner.checkpoint import Checkpoints
from quantize_cli.train.runner.device import peak_nbytes
from quantize_cli.train.runner.interruption import held_back
from quantize_cli.train.runner.loop import Look, PhaseTrainer
from quantize_cli.train.runner.phase import Training, TrainingMethod
from quantize_cli.units import size


@dataclass(frozen=True)
class TrainedPhase:
    """What became of a phase."""

    name: str
    losses: tuple[float, ...]
    """Of each step that was done."""
    looks: tuple[Look, ...]
    """At what is held out, the first before any step; none where the phase watches nothing."""
    best: Look | None
    """The one whose parameters were kept."""
    seconds: float

    @property
    def steps(self) -> int:
        return len(self.losses)


def run_phases(
    method: TrainingMethod, training: Training, checkpoints: Checkpoints, report: Report
) -> tuple[TrainedPhase, ...]:
    """Train all phases; InputError when a loss is no number. What is reached is saved now and then, and at a signal."""
    done = []
    for number, phase in enumerate(method.phases(training)):
        trainer = PhaseTrainer(phase, training.device, training.job.bfloat16, training.job.patience)
        if not checkpoints.restore_done(number, trainer):
            if checkpoints.restore(number, trainer):
                report.note(f"{phase.name}: goes on after {trainer.progress.step} of {phase.steps} steps")
            _train(number, trainer, training, checkpoints, report)
            trainer.finish()
            checkpoints.save_done(number, trainer)
        progress = trainer.progress
        done.append(
            TrainedPhase(phase.name, tuple(progress.losses), tuple(progress.looks), progress.best, progress.seconds)
        )
    return tuple(done)


def _train(number: int, trainer: PhaseTrainer, training: Training, checkpoints: Checkpoints, report: Report) -> None:
    job, phase, progress = training.job, trainer.phase, trainer.progress
    saved = time.monotonic()
    with held_back() as is_stopped, report.progress(phase.steps, " steps", phase.name) as advance:
        advance(progress.step)
        while not trainer.is_done:
            begun = time.monotonic()
            trainer.step()
            progress.seconds += time.monotonic() - begun
            advance(1, _standing(trainer, training))
            if is_stopped() or time.monotonic() - saved >= 60 * job.save_minutes:
                checkpoints.save(number, trainer)
                saved = time.monotonic()
            if is_stopped():
                report.note(f"saved {phase.name} after {progress.step} of {phase.steps} steps, --resume goes on")
                break


def _standing(trainer: PhaseTrainer, training: Training) -> str:
    """`step 12 of 400, loss 0.0123, held out 0.0140, 1234 tokens/s, 1.20 GB, 2 min left`."""
    progress, phase, job = trainer.progress, trainer.phase, training.job
    held_out = f", held out {progress.looks[-1].loss:.4g}" if progress.looks else ""
    tokens = job.batch * job.context * progress.step / max(progress.seconds, 1e-9)
    left = progress.seconds / progress.step * (phase.steps - progress.step)
    return (
        f"step {progress.step} of {phase.steps}, loss {progress.losses[-1]:.4g}{held_out}, {tokens:.0f} tokens/s, "
        f"{size(peak_nbytes(training.device))}, {duration(left)} left"
    )


def duration(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

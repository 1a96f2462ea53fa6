"""quantize train: what a GGUF file will hold is trained."""

import sys
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.options import Force, Json
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table, size
from quantize_cli.cli.terminal.train_job import takes_train_job

if TYPE_CHECKING:
    from quantize_cli.train.runner.job import TrainJob
    from quantize_cli.train.runner.phase import PhaseOutline
    from quantize_cli.train.runner.phases import TrainedPhase
    from quantize_cli.train.runner.train import Trained


@takes_train_job
def command(
    job: "TrainJob",
    force: Force = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what would be done and how much memory it takes; write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a quantized file of SRC until it predicts what SRC does, and write OUT. Needs torch.

    qat and efficientqat train on the numbers that the file's types can hold, so that OUT is what was trained.
    """
    from quantize_cli.train.runner.train import train

    done = train(job, report(quiet=json, notes=not json), force=force, dry_run=dry_run)
    if json:
        _print_json(done, dry_run)
    elif dry_run:
        _print_plan(done)
    else:
        _tell(done)


def _print_json(done: "Trained", dry_run: bool) -> None:
    prepared, limit = done.prepared, done.prepared.bound
    print_json({
        "output": str(done.output), "written": not dry_run, "nbytes": done.nbytes, "method": prepared.job.method,
        "device": prepared.device.type, "steps": prepared.steps if dry_run else done.steps,
        "tokens": prepared.tokens if dry_run else done.tokens,
        "loss_before": done.loss_before, "loss_after": done.loss_after, "seconds": round(done.seconds, 3),
        "peak_nbytes": done.peak_nbytes or None, "memory_nbytes": limit.nbytes,
        "memory": {name.replace(" ", "_"): nbytes for name, nbytes in limit.parts.items()},
        "phases": [_phase_json(phase) for phase in done.phases or prepared.outline],
    })  # fmt: skip


def _phase_json(phase: "TrainedPhase | PhaseOutline") -> dict[str, object]:
    """What became of a phase; of one that was not trained only its name and steps."""
    losses = getattr(phase, "losses", None) or (None,)
    return {
        "name": phase.name, "steps": phase.steps, "first_loss": losses[0], "last_loss": losses[-1],
        "held_out_before": getattr(phase, "before", None), "held_out_after": getattr(phase, "after", None),
        "seconds": getattr(phase, "seconds", None),
    }  # fmt: skip


def _print_plan(done: "Trained") -> None:
    prepared, limit = done.prepared, done.prepared.bound
    job = prepared.job
    print_table(
        ("phase", "steps"), [(phase.name, str(phase.steps)) for phase in prepared.outline], frozenset({"steps"})
    )
    print_table(
        ("memory", "at most"),
        [*((name, size(nbytes)) for name, nbytes in limit.parts.items() if nbytes), ("all", size(limit.nbytes))],
        frozenset({"at most"}),
    )
    sys.stdout.flush()
    note(
        f"would train {prepared.steps} steps on {prepared.tokens} tokens, {len(prepared.examples.tokens)} chunks of "
        f"{job.context}, on the {prepared.device.type}"
    )
    if done.nbytes:
        note(f"would write {done.output}: {size(done.nbytes)}")


def _tell(done: "Trained") -> None:
    made = f": {size(done.nbytes)}" if done.nbytes else ""
    note(f"wrote {done.output}{made}, in {done.seconds:.1f} s")
    note(f"trained {done.steps} steps on {done.tokens} tokens, with up to {size(done.peak_nbytes)} of memory")
    if done.loss_before is not None and done.loss_after is not None:
        note(f"held-out loss: {done.loss_before:.5f} before, {done.loss_after:.5f} after")

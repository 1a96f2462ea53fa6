"""Small trainings in this process: what tests of the runner share."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantize_cli.pipeline.job import Job
from quantize_cli.progress import Advance, Report
from quantize_cli.train.runner.job import TrainJob
from tests.checkpoints import build
from tests.cli.console import EXAMPLES

TEXT = EXAMPLES / "sample.txt"


def small_model(directory: Path) -> Path:
    """A llama of two layers, whose rows fill blocks of 32 weights."""
    build("llama", directory)
    return directory


def small_job(model: Path, output: Path, **options: Any) -> TrainJob:
    """Six steps end to end, and three for each block, from a start that takes no time to make."""
    of_conversion = {"type": "q4_0", "methods": ("hqq",), "certify": None}
    conversion = Job(model, output, threads=1, **{key: options.pop(key, it) for key, it in of_conversion.items()})
    sizes: dict[str, Any] = {"method": "efficientqat", "steps": 6, "block_steps": 3, "context": 32, "batch": 2}
    return TrainJob(conversion, (TEXT,), **{**sizes, **options})


def stopping_after(steps: int, number: int = signal.SIGINT) -> Report:
    """A report that sends this process a signal when so many steps are done."""
    done = 0

    @contextmanager
    def progress(total: int, unit: str, what: str) -> Iterator[Advance]:
        def advance(amount: int, standing: str = "") -> None:
            nonlocal done
            done += amount if unit == " steps" else 0
            if unit == " steps" and amount and done == steps:
                signal.raise_signal(number)

        yield advance

    return Report(progress=progress)

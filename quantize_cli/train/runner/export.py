"""The files at the end: what training started from, with the blocks that were trained; and a certificate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantize_cli.certificate import statement
from quantize_cli.certificate.statement import Certificate
from quantize_cli.model.source import Model
from quantize_cli.pipeline import plan, write_planned
from quantize_cli.pipeline.certify import with_certificate_request
from quantize_cli.pipeline.decided import Decisions, PlannedConversion
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.plan import Step
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.train.runner.phase import Writing
from quantize_cli.train.runner.start import Start
from quantize_cli.train.weights.trained_matrix import TrainedMatrix


@dataclass(frozen=True)
class TrainedModel:
    """What is to be written, and what a certificate says of it."""

    source: Model
    start: Start
    matrices: Mapping[str, TrainedMatrix]
    training: statement.Training

    def planned(self, output: Path) -> PlannedConversion:
        """The file that was started from, laid out once more at `output`, with the blocks of the trained matrices."""
        start, training = self.start, self.training
        steps = [
            Step(tensor, tensor.type, "trained" if tensor.name in self.matrices else "kept as it is")
            for tensor in start.model.tensors
        ]
        files = {**self.source.files, **start.model.files}
        whole = plan.lay_out_steps(start.recipe, steps, start.metadata, files)
        rounding = Rounding(names=frozenset(self.matrices), results=self._blocks)
        method = f"{start.method}, {training.method} {training.steps} steps"
        decided = Decisions(whole, rounding, method, start.calibration, training=training)
        return PlannedConversion(self.source, decided, output, {output: whole})

    def _blocks(self) -> Iterator[tuple[str, np.ndarray]]:
        return ((name, matrix.blocks()) for name, matrix in self.matrices.items())


def write_trained(
    model: TrainedModel, output: Path, certify: Path | None, writing: Writing
) -> tuple[PlannedConversion, Certificate | None]:
    """Write the GGUF file, with a certificate on the text `certify` if there is one."""
    planned = model.planned(output)
    if certify is not None:
        planned = with_certificate_request(planned, certify, writing.report)
    return planned, write_planned(planned, Threads(writing.threads), writing.guard, writing.report)

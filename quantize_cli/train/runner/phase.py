"""Training as a sequence of phases: each trains some parameters to lessen one loss."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from quantize_cli.formats.output import OverwriteGuard
from quantize_cli.model.source import Model
from quantize_cli.progress import Report
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.decoder.decoder import Decoder
from quantize_cli.train.decoder.weights import Weights
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role, TrainedMatrix


@dataclass(frozen=True)
class Phase:
    """Some parameters, how long they are trained, and what for."""

    name: str
    """As progress names it: "block 3", "end to end"."""
    steps: int
    groups: tuple[ParameterGroup, ...]
    rates: Mapping[Role, float]
    """Highest learning rate by role, in units of each group."""
    loss: Callable[[int], Tensor]
    """The loss of a step, by its number from 0; a function of the job's seed and that number alone."""
    watched: Callable[[], float] | None = None
    """The loss on text that is held out, for early stopping."""


@dataclass(frozen=True)
class Training:
    """All that a method works with; tensors lie on `device`."""

    job: TrainJob
    decoder: Decoder
    original: Weights = field(repr=False)
    """The float model's matrices by name."""
    matrices: Mapping[str, TrainedMatrix] = field(repr=False)
    """Those that are trained, by name."""
    fixed: Weights = field(repr=False)
    """Those of the file that are not trained, as it holds them."""
    examples: Examples = field(repr=False)
    device: torch.device

    def quantized(self, name: str) -> Tensor:
        """A matrix as the file holds it."""
        matrix = self.matrices.get(name)
        weights: Tensor = self.fixed(name) if matrix is None else matrix()
        return weights

    @property
    def groups(self) -> tuple[ParameterGroup, ...]:
        """All parameters of the matrices that are trained."""
        return tuple(group for matrix in self.matrices.values() for group in matrix.groups())

    def rates(self, usual: Mapping[Role, float]) -> dict[Role, float]:
        """A method's usual learning rates; where the job names that of weights, all in proportion to it."""
        rate = self.job.learning_rate
        share = 1.0 if rate is None else rate / next(iter(usual.values()))
        return {role: value * share for role, value in usual.items()}

    def chunks_of(self, step: int) -> np.ndarray:
        """The numbers of the chunks that a step sees, (batch,)."""
        return self.examples.chunks(step, self.job.seed, self.job.batch)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Tokens (batch, context) i64 of a step, and which of them count."""
        return self._on_device(*self.examples.batch(step, self.job.seed, self.job.batch))

    def held_out(self, most: int) -> tuple[Tensor, Tensor]:
        """Tokens (chunks, context) i64 of at most so many chunks that no step sees, and which of them count."""
        return self._on_device(self.examples.held_tokens[:most], self.examples.held_counted[:most])

    def _on_device(self, tokens: np.ndarray, counted: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(tokens).long().to(self.device), torch.from_numpy(counted).to(self.device)


@dataclass(frozen=True)
class PhaseOutline:
    """What a phase will be, as far as a job tells before anything is read: for `--dry-run`, and to bound memory."""

    name: str
    steps: int
    roles: frozenset[Role]
    """What is trained."""
    block: int | None = None
    """The block that is trained alone, for its own output; None for the whole model, for its predictions."""


class TrainingMethod(Protocol):
    """Each file of `train` holds one, as METHOD."""

    def outline(self, job: TrainJob, blocks: int) -> Sequence[PhaseOutline]:
        """The phases of a training of a model of so many blocks, without training anything."""

    def phases(self, training: Training) -> Iterator[Phase]:
        """One phase after the other; the next is asked for when one is done, or was done before an interruption.

        After an interruption each phase that was done is asked for again, and its parameters then get the values that
        they had at its end. So all that happens between phases happens as before.
        """


@runtime_checkable
class OwnOutcome(Protocol):
    """A method whose outcome is not the start file with other codes, such as adapters: it does these things itself."""

    def refuse(self, job: TrainJob) -> tuple[Path, ...]:
        """The files and directories that `write` will make; UsageError for options that do not go together."""

    def needs_start(self, job: TrainJob) -> bool:
        """Whether training begins with a quantized file."""

    def assemble(self, job: TrainJob, models: "Models", examples: Examples, device: torch.device) -> Training:
        """What its phases work with."""

    def write(self, training: Training, models: "Models", writing: "Writing") -> None:
        """Make the outputs, each whole or not at all."""


@dataclass(frozen=True)
class Models:
    """What a training begins with."""

    source: Model
    """The float model."""
    start: Model | None
    """The quantized file, where there is one."""


@dataclass(frozen=True)
class Writing:
    """Who writes, and over what."""

    guard: OverwriteGuard
    threads: int
    report: Report

"""A phase is trained: AdamW steps at scheduled rates, looks at what is held out, and the best state kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from quantize_cli.errors import InputError
from quantize_cli.train.runner.phase import Phase
from quantize_cli.train.runner.schedule import factor

_BETAS = (0.9, 0.99)
"""Second moments are means of some hundred steps, as many as a phase may have."""
_LARGEST_NORM = 1.0
"""Of the gradient of all parameters, which is scaled down to it: one odd batch must not undo many steps. AdamW does not
feel a scale that is always the same, so that it hardly matters where the limit lies for usual batches."""
_LOOKS = 20
"""At what is held out, in a phase; of a thousand steps they cost some hundredths of its time."""
_DIVERGED_HINT = "--learning-rate takes a lower one"


@dataclass(frozen=True)
class Look:
    """The loss on what is held out, after so many steps."""

    step: int
    loss: float


@dataclass
class PhaseProgress:
    """What has happened in a phase so far; with parameters and moments all that its next step depends on."""

    losses: list[float] = field(default_factory=list)
    """Of each step."""
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Steps that are done."""
        return len(self.losses)

    @property
    def best(self) -> Look | None:
        return min(self.looks, key=lambda look: look.loss, default=None)

    def table(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "losses": self.losses,
            "looks": [[look.step, look.loss] for look in self.looks],
            "seconds": self.seconds,
        }


def from_table(table: Mapping[str, Any]) -> PhaseProgress:
    """What `PhaseProgress.table` gave."""
    return PhaseProgress(list(table["losses"]), [Look(*look) for look in table["looks"]], float(table["seconds"]))


class PhaseTrainer:
    """A phase and the state of its training, one step after the other."""

    def __init__(self, phase: Phase, device: torch.device, bfloat16: bool, patience: int | None = None) -> None:
        self.phase, self.progress = phase, PhaseProgress()
        self.parameters = [parameter for group in phase.groups for parameter in group.parameters]
        self._patience = patience
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
        self._rates = [phase.rates[group.role] * group.unit for group in phase.groups]
        groups = [{"params": list(group.parameters)} for group in phase.groups]
        self._optimizer = torch.optim.AdamW(groups, betas=_BETAS, weight_decay=0.0)
        self._best: list[Tensor] = []
        """The parameters at the best look, in main memory."""

    @property
    def is_done(self) -> bool:
        return self.progress.step >= self.phase.steps or self._is_out_of_patience()

    def step(self) -> None:
        """Train one step, look where it is time to; InputError when the loss is no number."""
        number = self.progress.step
        if not number and not self.progress.looks:
            self._look()
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor(number, self.phase.steps)
        self._optimizer.zero_grad()
        with self._autocast:
            loss = self.phase.loss(number)
        self._refuse_diverged("loss", loss, number)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, _LARGEST_NORM)
        self._refuse_diverged("norm of the gradient", norm, number)
        self._optimizer.step()
        self.progress.losses.append(float(loss.detach()))
        if (number + 1) % max(1, self.phase.steps // _LOOKS) == 0 or number + 1 == self.phase.steps:
            self._look()

    def finish(self) -> None:
        """Leave the parameters as they were at the best look, and free what only steps need."""
        self._optimizer.zero_grad()
        self._optimizer.state.clear()
        if self._best:
            _set(self.parameters, self._best)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters, their moments and the best parameters, by names of ours."""
        tensors = {f"parameter.{number}": parameter.detach() for number, parameter in enumerate(self.parameters)}
        for number, parameter in enumerate(self.parameters):
            moments = self._optimizer.state.get(parameter, {})
            tensors |= {f"{name}.{number}": value for name, value in moments.items()}
        return tensors | {f"best.{number}": best for number, best in enumerate(self._best)}

    def restore(self, tensors: Mapping[str, Tensor], progress: PhaseProgress) -> None:
        """Go on from where `tensors` and `progress` were taken."""
        self.progress = progress
        _set(self.parameters, [tensors[f"parameter.{number}"] for number in range(len(self.parameters))])
        for number, parameter in enumerate(self.parameters):
            moments = {name: tensors[f"{name}.{number}"] for name in _MOMENTS if f"{name}.{number}" in tensors}
            if moments:
                # The count of steps stays in main memory, as torch has it.
                self._optimizer.state[parameter] = {
                    name: value if name == "step" else value.to(parameter.device) for name, value in moments.items()
                }
        if "best.0" in tensors:
            self._best = [tensors[f"best.{number}"] for number in range(len(self.parameters))]

    def _look(self) -> None:
        if self.phase.watched is None:
            return
        with self._autocast:
            loss = self.phase.watched()
        if not isfinite(loss):
            raise InputError(
                f"{self.phase.name}: the loss on held-out text is {loss} after {self.progress.step} steps",
                _DIVERGED_HINT,
            )
        best = self.progress.best
        self.progress.looks.append(Look(self.progress.step, loss))
        if best is None or loss < best.loss:
            self._best = [parameter.detach().to("cpu", copy=True) for parameter in self.parameters]

    def _is_out_of_patience(self) -> bool:
        best, looks = self.progress.best, self.progress.looks
        if self._patience is None or best is None:
            return False
        return len(looks) - 1 - looks.index(best) >= self._patience

    def _refuse_diverged(self, what: str, value: Tensor, number: int) -> None:
        if not isfinite(float(value.detach())):
            raise InputError(
                f"{self.phase.name}: the {what} is {float(value.detach())} in step {number + 1} of {self.phase.steps}",
                _DIVERGED_HINT,
            )


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""As AdamW calls them."""


@torch.no_grad()
def _set(parameters: list[torch.nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)

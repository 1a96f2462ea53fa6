"""QAT: weights and scales trained end to end on the file's own grid, until it predicts what the float model does.

Each forward pass rounds the weights as the file will hold them; gradients pass through the rounding (straight-through,
Bengio et al. 2013). The loss is the divergence from the float model's predictions plus the error of each layer's
output, so that any text of the model's kind will do, and nothing new is learned from it.
"""

from collections.abc import Iterator

from quantize_cli.train.runner.distillation import distillation_loss, held_out_divergence
from quantize_cli.train.runner.job import TrainJob
from quantize_cli.train.runner.phase import Phase, PhaseOutline, Training
from quantize_cli.train.weights.trained_matrix import Role

_NAME = "end to end"
_STEPS = 1200
_RATES = {Role.WEIGHTS: 0.005, Role.SCALES: 0.00025}
"""Of a weight's step. Weights have to cross half a step to change their code; scales move all their weights at once.

At higher rates codes change back and forth, and the more steps there are, the further they wander from the start.
"""


class QuantizationAwareTraining:
    """Everything at once."""

    def outline(self, job: TrainJob, blocks: int) -> tuple[PhaseOutline, ...]:
        return (PhaseOutline(_NAME, job.steps or _STEPS, frozenset(_RATES)),)

    def phases(self, training: Training) -> Iterator[Phase]:
        yield Phase(
            _NAME,
            training.job.steps or _STEPS,
            training.groups,
            training.rates(_RATES),
            distillation_loss(training),
            held_out_divergence(training),
        )


METHOD = QuantizationAwareTraining()

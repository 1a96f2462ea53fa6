"""QLoRA (Dettmers et al. 2023): adapters of low rank are fine-tuned beside a frozen quantized model.

The base is any GGUF file or NF4, and stays what it is. The loss is the text's own, so that the model learns from it,
where `qat` and `efficientqat` only keep it as it was.
"""

from collections.abc import Iterator

from quantize_cli.errors import UsageError
from quantize_cli.train.runner.likelihood import held_out_likelihood, likelihood_loss
from quantize_cli.train.runner.phase import Phase, Training
from quantize_cli.train.weights.trained_matrix import Role

_STEPS = 500
_RATES = {Role.ADAPTERS: 2e-4}
"""The paper's, for models of up to 13 billion weights (its table 9). It is absolute: adapters have no grid."""


class QLora:
    """One phase: all adapters, end to end."""

    def phases(self, training: Training) -> Iterator[Phase]:
        """`training.adapted` holds the base and the adapters."""
        adapted = training.adapted
        if adapted is None or not adapted.adapters:
            raise UsageError("qlora: the model has no matrix that an adapter can stand beside")
        yield Phase(
            "end to end",
            training.job.steps or _STEPS,
            adapted.groups(),
            training.rates(_RATES),
            likelihood_loss(training, adapted),
            held_out_likelihood(training, adapted),
        )


METHOD = QLora()

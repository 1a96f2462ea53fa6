"""A mixture of experts: each token goes through the few feed-forwards a router chooses for it."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.layer import FeedForward, Linear, sigmoid

_SMALLEST_SUM = np.float32(2.0**-14)
"""What the shares of chosen experts are divided by at least, as llama.cpp has it: the smallest normal float16."""


@dataclass(frozen=True)
class Mixture:
    """The sum of the chosen experts, each weighted by its share of the router's softmax, and of the shared one."""

    router: Linear
    experts: tuple[FeedForward, ...]
    used: int
    """Experts a token is sent to."""
    normalized: bool
    """The shares of the chosen add up to one."""
    shared: FeedForward | None
    shared_gate: Linear | None
    """One row, whose sigmoid weights the shared expert."""

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        chosen, shares = self._route(activations)
        mixed = np.zeros_like(activations)
        for expert in np.unique(chosen):
            tokens, ranks = np.nonzero(chosen == expert)
            mixed[tokens] += self.experts[expert](activations[tokens]) * shares[tokens, ranks, None]
        if self.shared is not None and self.shared_gate is not None:
            mixed += self.shared(activations) * sigmoid(self.shared_gate(activations))
        return mixed

    def _route(self, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The experts of each token (n, used) and their shares (n, used) f32."""
        logits = self.router(activations)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : self.used]
        shares = np.take_along_axis(shares, chosen, axis=-1)
        if self.normalized:
            shares /= np.maximum(shares.sum(axis=-1, keepdims=True), _SMALLEST_SUM)
        return chosen, shares

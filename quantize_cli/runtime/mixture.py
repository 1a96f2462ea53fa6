"""A mixture of experts: each token goes through the few feed-forwards a router chooses for it."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.runtime.kernels.exponential import exponentials
from quantize_cli.runtime.layer import FeedForward, Linear
from quantize_cli.runtime.program import Threads
from quantize_cli.runtime.recorder import Recorder, apply_part

_SMALLEST_SUM = np.float32(2.0**-14)
"""What the shares of chosen experts are divided by at least, as llama.cpp has it: the smallest normal float16."""
_LOWEST = np.float32(-80)
"""Below this a sigmoid is zero anyway; the bound keeps exp from overflowing."""


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
    """One row, whose sigmoid weights the shared expert; None where it is added as it is."""

    def record(self, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        """Which experts are chosen is known when the recording runs, so Python sends the tokens to them."""
        logits, out = self.router.record(recorder, x), recorder.array(*x.shape)
        threads = recorder.threads  # not the recorder, which would then refer to itself
        recorder.call(lambda: self._mix(threads, x, logits, out))
        if self.shared is not None:
            shared = self.shared.record(recorder, x)
            gate = None if self.shared_gate is None else self.shared_gate.record(recorder, x)
            recorder.call(lambda: _add_shared(out, shared, gate))
        return out

    def _mix(self, threads: Threads, x: np.ndarray, logits: np.ndarray, out: np.ndarray) -> None:
        chosen, shares = self._route(logits)
        out[:] = 0
        for expert in np.unique(chosen):
            tokens, ranks = np.nonzero(chosen == expert)
            formed = apply_part(self.experts[expert], x[tokens], threads)
            out[tokens] += formed * shares[tokens, ranks, None]

    def _route(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The experts of each token (n, used) and their shares (n, used) f32."""
        shares = exponentials(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : self.used]
        shares = np.take_along_axis(shares, chosen, axis=-1)
        if self.normalized:
            shares /= np.maximum(shares.sum(axis=-1, keepdims=True), _SMALLEST_SUM)
        return chosen, shares


def _add_shared(out: np.ndarray, shared: np.ndarray, gate: np.ndarray | None) -> None:
    out += shared if gate is None else shared / (1 + exponentials(-np.maximum(gate, _LOWEST)))

"""The next token: the likeliest, or one drawn from what a chain of filters leaves."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from quantize_cli.errors import InputError, UsageError
from quantize_cli.jit.elementary import exponential, logarithm

PENALTY_WINDOW = 64
"""How many of the latest tokens a repeat penalty touches, as in llama.cpp."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; each filter is off at the value named. UsageError for values that make no sense."""

    temperature: float = 0.0
    """Logits are divided by it; at 0 the likeliest token is taken and no filter acts."""
    top_k: int = 40
    """Keep the so many likeliest; 0 keeps all."""
    top_p: float = 0.95
    """Keep the likeliest that together reach this probability; 1 keeps all."""
    min_p: float = 0.05
    """Keep those at least this fraction as likely as the likeliest; 0 keeps all."""
    repeat_penalty: float = 1.0
    """Logits of recent tokens are divided by it, multiplied where negative; 1 changes nothing."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid, range_ in (
            ("temperature", 0 <= self.temperature < np.inf, "a number of at least 0"),
            ("top_k", self.top_k >= 0, "a number of at least 0"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
            ("repeat_penalty", 0 < self.repeat_penalty < np.inf, "a number above 0"),
            ("seed", 0 <= self.seed < 1 << 64, "between 0 and 2^64"),
        ):
            if not valid:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: not {range_}")


class Sampler:
    """Chooses tokens one after the other; the same seed, logits and order give the same tokens.

    The order is that of llama.cpp's default chain: repeat penalty, top-k, top-p, min-p, temperature. Each draw takes
    the upper 53 bits of one output of the counter-based generator Philox-4x64-10, keyed by the seed, as a fraction
    of one, and the first of the remaining tokens, likeliest first, at which the sum of probabilities exceeds it.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = np.random.Philox(key=sampling.seed)
        self._recent: deque[int] = deque(maxlen=PENALTY_WINDOW)

    def accept(self, tokens: Iterable[int]) -> None:
        """Count tokens the model did not choose among those it may repeat."""
        self._recent.extend(tokens)

    def __call__(self, logits: np.ndarray) -> int:
        """A token, given the logits (vocabulary,) f32."""
        if not np.isfinite(logits).all():
            raise InputError("the model's logits are not finite: its weights, or a type they are stored in, overflow")
        logits = self._penalized(logits)
        chosen = greedy(logits) if self._sampling.temperature == 0 else self._drawn(logits)
        self._recent.append(chosen)
        return chosen

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        penalty = np.float32(self._sampling.repeat_penalty)
        if penalty == 1 or not self._recent:
            return logits
        tokens = np.unique(list(self._recent))
        penalized = logits.copy()
        penalized[tokens] = np.where(logits[tokens] > 0, logits[tokens] / penalty, logits[tokens] * penalty)
        return penalized

    def _drawn(self, logits: np.ndarray) -> int:
        tokens = candidates(logits, self._sampling)
        weights = _weights(logits[tokens] / np.float32(self._sampling.temperature))
        fraction = (int(self._generator.random_raw()) >> 11) * 2.0**-53
        reached = np.cumsum(weights)
        # Found among all but the last, which has what rounding may leave beyond the sum.
        return int(tokens[np.searchsorted(reached[:-1], fraction * reached[-1], side="right")])


def greedy(logits: np.ndarray) -> int:
    """The likeliest token of logits (vocabulary,); the lowest of equals."""
    return int(np.argmax(logits))


def candidates(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The tokens the filters leave of logits (vocabulary,), likeliest first, the lower of equals before the other."""
    tokens = _likeliest(logits, sampling.top_k)
    if sampling.top_p < 1:
        weights = _weights(logits[tokens])
        enough = np.searchsorted(np.cumsum(weights), sampling.top_p * weights.sum())
        tokens = tokens[: enough + 1]
    if sampling.min_p > 0:
        tokens = tokens[logits[tokens] >= logits[tokens[0]] + np.float32(logarithm(np.array(sampling.min_p)))]
    return tokens


def _likeliest(logits: np.ndarray, count: int) -> np.ndarray:
    """The tokens of the `count` highest logits, or of all if it is 0, ordered as above.

    Sorting a vocabulary of 32,000 takes a tenth of what making its logits takes in a model of a billion weights.
    """
    if not 0 < count < logits.size:
        return np.argsort(-logits, kind="stable")
    least = np.partition(logits, -count)[-count]
    tokens = np.flatnonzero(logits >= least)
    return tokens[np.argsort(-logits[tokens], kind="stable")][:count]


def _weights(logits: np.ndarray) -> np.ndarray:
    """Logits, the largest first, as probabilities times a constant, float64."""
    return exponential(logits - logits[0])

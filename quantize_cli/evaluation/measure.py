"""Runs models over the same chunks and scores them, with the logits of one chunk and two models in memory.

Models take turns by batches of chunks, so that other load on the machine slows all of them equally.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.evaluation.score import TokenComparison, compare, nlls
from quantize_cli.formats.reference import Predictions
from quantize_cli.runtime.transformer import Transformer

_BATCH = 2048
"""Tokens run at once, as whole chunks, so that a matrix too large to keep is decoded once for several chunks."""


class SavedPredictions(Protocol):
    """Predictions of a file."""

    def rows(self, chunk: int) -> Predictions: ...


@dataclass(frozen=True)
class Scores:
    """The scores of one model on a text."""

    nll: np.ndarray
    """-ln p of each scored token, (chunks, scored) f64."""
    against: TokenComparison | None
    """The same shape, compared with the reference; None without one, and for the reference itself."""
    tokens_per_second: tuple[float, ...]
    """For each batch of chunks; all tokens count."""

    def of_chunks(self, start: int, stop: int) -> "Scores":
        """The scores of chunks [start, stop)."""
        against = self.against and TokenComparison(*(values[start:stop] for values in vars(self.against).values()))
        return Scores(self.nll[start:stop], against, self.tokens_per_second)


Reference = int | SavedPredictions | None
"""The index of the model that the others are compared with, or saved predictions, or None."""
OnChunk = Callable[[int, np.ndarray, np.ndarray], None]
"""Called for each chunk with its number, the first model's logits (scored, vocabulary), and the observed tokens."""


def scored_tokens(chunks: np.ndarray) -> np.ndarray:
    """The scored tokens of (chunks, context): those of the second half, without its first."""
    return chunks[:, chunks.shape[1] // 2 + 1 :]


def measure(
    models: Sequence[Transformer],
    chunks: np.ndarray,
    reference: Reference = None,
    on_chunk: OnChunk = lambda index, logits, tokens: None,
) -> list[Scores]:
    """The scores of each model on `chunks` (count, context) of tokens, each run from position zero."""
    builders = [_ScoreBuilder(isinstance(reference, int) and reference == position) for position in range(len(models))]
    together = max(1, _BATCH // chunks.shape[1])
    for start in range(0, len(chunks), together):
        part = chunks[start : start + together]
        hidden = [builder.timed(_hidden, model, part) for builder, model in zip(builders, models, strict=True)]
        for position, tokens in enumerate(scored_tokens(part)):
            states = [of_model[position] for of_model in hidden]
            _score_chunk(models, states, builders, reference, start + position, tokens, on_chunk)
        for builder in builders:
            builder.end_batch(part.size)
    return [builder.scores() for builder in builders]


def _hidden(model: Transformer, chunks: np.ndarray) -> np.ndarray:
    """The hidden states that predict the scored tokens: (chunks, scored, width)."""
    return model.hidden(chunks)[:, chunks.shape[1] // 2 : -1]


def _score_chunk(
    models: Sequence[Transformer], states: Sequence[np.ndarray], builders: Sequence["_ScoreBuilder"],
    reference: Reference, index: int, tokens: np.ndarray, on_chunk: OnChunk,
) -> None:  # fmt: skip
    """Compute logits and scores of one chunk, the reference's first, as the others need them."""
    base: Predictions | None = None
    order = sorted(range(len(models)), key=lambda position: position != reference)
    if reference is not None and not isinstance(reference, int):
        base = reference.rows(index)
    for position in order:
        logits = builders[position].timed(models[position].project, states[position])
        if base is not None and base.logits.shape != logits.shape:
            raise InputError(
                f"the reference predicts {base.logits.shape[1]} tokens, the model {logits.shape[1]}: "
                "they do not have the same vocabulary"
            )
        if position == 0:
            on_chunk(index, logits, tokens)
        if builders[position].is_reference:
            base = Predictions(logits)
        builders[position].add(logits, base, tokens)


class _ScoreBuilder:
    """The scores of one model so far."""

    def __init__(self, is_reference: bool) -> None:
        self.is_reference = is_reference
        self._nll: list[np.ndarray] = []
        self._against: list[TokenComparison] = []
        self._seconds = 0.0
        self._speeds: list[float] = []

    def timed(self, run: Callable[..., np.ndarray], *arguments: object) -> np.ndarray:
        start = time.perf_counter()
        result = run(*arguments)
        self._seconds += time.perf_counter() - start
        return result

    def add(self, logits: np.ndarray, base: Predictions | None, tokens: np.ndarray) -> None:
        if base is None or self.is_reference:
            self._nll.append(nlls(logits, tokens))
            return
        nll, against = compare(logits, base, tokens)
        self._nll.append(nll)
        self._against.append(against)

    def end_batch(self, tokens: int) -> None:
        self._speeds.append(tokens / self._seconds)
        self._seconds = 0.0

    def scores(self) -> Scores:
        return Scores(np.stack(self._nll), self._merged(), tuple(self._speeds))

    def _merged(self) -> TokenComparison | None:
        if not self._against:
            return None
        columns = zip(*(vars(part).values() for part in self._against), strict=True)
        return TokenComparison(*(np.stack(column) for column in columns))

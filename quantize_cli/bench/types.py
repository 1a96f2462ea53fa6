"""Speed of each type's kernels on one core.

Turns alternate between ours, ggml's and a plain copy, and each figure is the median of its turns, so that what else
the machine does falls on all alike. All write to memory that is there already, and the same each time.
"""

import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from quantize_cli import quants
from quantize_cli.bench import ggml
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.progress import Report

_SHAPE = (1024, 4096)


@dataclass(frozen=True)
class TypeSpeed:
    """What was measured of one type. Rates are per second and core."""

    type: GgmlType
    weights: float
    """Weights quantized."""
    nbytes: float
    """Bytes read and written while quantizing."""
    copy_share: float
    """Of the bytes a plain copy moves."""
    dequantized_nbytes: float
    """Bytes of float32 written while dequantizing."""
    ggml_weights: float | None
    """Weights ggml's C quantizes, or None where it is not installed."""

    @property
    def ratio(self) -> float | None:
        return None if self.ggml_weights is None else self.weights / self.ggml_weights


def measure(types: Collection[GgmlType], turns: int, weighted: bool, report: Report) -> list[TypeSpeed]:
    """The speed of each type, the median of `turns`; `weighted` gives every column an importance."""
    speeds = []
    with report.progress(len(types), " types", "bench") as advance:
        for type_ in types:
            speeds.append(_measure(type_, turns, weighted))
            advance(1)
    return speeds


def _measure(type_: GgmlType, turns: int, weighted: bool) -> TypeSpeed:
    """On normally distributed weights."""
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal(_SHAPE) * 0.02).astype(np.float32)
    weighted = weighted or quants.find(type_).needs_importance
    importance = rng.random(_SHAPE[1]).astype(np.float32) if weighted else None
    stored, copied, reference = quants.encode(type_, weights, importance), np.empty_like(weights), ggml.library()
    actions: list[Callable[[], object]] = [
        lambda: quants.encode(type_, weights, importance, stored),
        lambda: quants.decode(type_, stored),
        lambda: np.copyto(copied, weights),
    ]
    if reference is not None:
        actions.append(lambda: ggml.quantize(reference, type_, weights, importance, stored))
    seconds = _medians(actions, turns)
    moved = (weights.nbytes + stored.nbytes) / seconds[0]
    return TypeSpeed(
        type=type_,
        weights=weights.size / seconds[0],
        nbytes=moved,
        copy_share=moved / (2 * weights.nbytes / seconds[2]),
        dequantized_nbytes=weights.nbytes / seconds[1],
        ggml_weights=None if reference is None else weights.size / seconds[3],
    )


def _medians(actions: list[Callable[[], object]], turns: int) -> list[float]:
    """Median seconds of each action, in alternation, after one turn that does not count."""
    spent: list[list[float]] = [[] for _ in actions]
    for turn in range(turns + 1):
        for action, seconds in zip(actions, spent, strict=True):
            start = time.perf_counter()
            action()
            if turn:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in spent]

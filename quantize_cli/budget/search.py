"""The choice of one option for each tensor that loses least within so many bytes (a multiple-choice knapsack).

First Lagrange's way: on the lower convex hull of each tensor's options, steps are taken in the order of what a byte
buys, until no more fit. That is a good choice but seldom the best. What the steps would reach if the last of them could
be taken in part, no choice can beat; so partial choices that cannot do better than the best known, even with that much
luck in the tensors still to come, are dropped, and few enough are left to try all of them (Dyer, Kayal and Walker, A
branch and bound algorithm for solving the multiple-choice knapsack problem, 1984; states as in Pisinger, A minimal
algorithm for the multiple-choice knapsack problem, 1995).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantize_cli.budget.options import TypeChoice
from quantize_cli.errors import ExitCode, QuantizeError

_MOST_STATES = 1 << 18
"""Partial choices kept at once. Beyond them neighbours are merged, and the best is only nearly found."""

Options = Sequence[Sequence[TypeChoice]]
"""Of each tensor, as `pareto_front` gives them."""


class OverBudgetError(QuantizeError):
    """Not even the smallest choice fits."""

    exit_code = ExitCode.ANSWER_IS_NO


class Step(NamedTuple):
    """From one option of a tensor to a larger one on the hull."""

    tensor: int
    start: int
    stop: int
    nbytes: int
    gain: float
    """Loss saved."""


def search(options: Options, room: int) -> tuple[TypeChoice, ...]:
    """The choice of least loss that takes at most `room` bytes; OverBudgetError when there is none."""
    least = sum(choices[0].nbytes for choices in options)
    if least > room:
        raise OverBudgetError(f"{room} bytes hold no choice, the smallest has {least}")
    greedy = _greedy(options, room)
    better = _best(options, room, sum(choices[at].loss for choices, at in zip(options, greedy, strict=True)))
    return tuple(choices[at] for choices, at in zip(options, better or greedy, strict=True))


def steps(options: Options) -> list[Step]:
    """All steps along the hulls, the one that buys most per byte first; those of one tensor stay in order."""
    hull_steps = [step for tensor, of_tensor in enumerate(options) for step in _hull(tensor, of_tensor)]
    return sorted(hull_steps, key=lambda step: -step.gain / step.nbytes)


def _hull(tensor: int, options: Sequence[TypeChoice]) -> list[Step]:
    """From the first option to the last, each step buying less per byte than the one before."""
    hull: list[Step] = []
    for stop in range(1, len(options)):
        step = _step(tensor, options, stop - 1, stop)
        while hull and step.gain * hull[-1].nbytes >= hull[-1].gain * step.nbytes:
            step = _step(tensor, options, hull.pop().start, stop)
        hull.append(step)
    return hull


def _step(tensor: int, options: Sequence[TypeChoice], start: int, stop: int) -> Step:
    small, large = options[start], options[stop]
    return Step(tensor, start, stop, large.nbytes - small.nbytes, small.loss - large.loss)


def _greedy(options: Options, room: int) -> list[int]:
    """Steps in order while they fit, then whatever single change still helps."""
    chosen = [0] * len(options)
    left = room - sum(choices[0].nbytes for choices in options)
    for step in steps(options):
        if chosen[step.tensor] == step.start and step.nbytes <= left:
            chosen[step.tensor] = step.stop
            left -= step.nbytes
    for tensor, choices in enumerate(options):
        now = choices[chosen[tensor]]
        while chosen[tensor] + 1 < len(choices) and choices[chosen[tensor] + 1].nbytes - now.nbytes <= left:
            chosen[tensor] += 1
        left -= choices[chosen[tensor]].nbytes - now.nbytes
    return chosen


class _Bound(NamedTuple):
    """The least loss of the tensors still to come, by their bytes: lines between points."""

    nbytes: np.ndarray
    loss: np.ndarray


def _bounds(options: Options) -> list[_Bound]:
    """For each number of tensors decided; behind the last one nothing is left to lose."""
    ordered = steps(options)
    bounds = []
    for decided in range(len(options) + 1):
        rest = options[decided:]
        ahead = [step for step in ordered if step.tensor >= decided]
        nbytes = np.cumsum([sum(of[0].nbytes for of in rest), *(step.nbytes for step in ahead)])
        loss = np.cumsum([sum(of[0].loss for of in rest), *(-step.gain for step in ahead)])
        bounds.append(_Bound(nbytes, loss))
    return bounds


def _best(options: Options, room: int, known: float) -> list[int] | None:
    """The best choice if it is better than the `known` loss, as indices of the options."""
    bounds = _bounds(options)
    nbytes, loss = np.zeros(1, np.int64), np.zeros(1)
    trail: list[tuple[np.ndarray, np.ndarray]] = []
    for choices, bound in zip(options, bounds[1:], strict=True):
        count = len(choices)
        nbytes = (nbytes[:, None] + np.array([option.nbytes for option in choices])).ravel()
        loss = (loss[:, None] + np.array([option.loss for option in choices])).ravel()
        left = room - nbytes
        # What sums round must not make a choice as good as the known one look better.
        hopeful = (left >= bound.nbytes[0]) & (loss + np.interp(left, *bound) < known * (1 - 1e-12))
        kept = _undominated(np.flatnonzero(hopeful), nbytes, loss)
        if not kept.size:
            return None
        nbytes, loss = nbytes[kept], loss[kept]
        trail.append((kept // count, kept % count))
    return _followed(trail, int(loss.argmin()))


def _undominated(states: np.ndarray, nbytes: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Those of `states` (indices) that lose less than all others that take as few bytes, the smallest first."""
    order = states[np.lexsort((loss[states], nbytes[states]))]
    if not order.size:
        return order
    lowest = np.minimum.accumulate(loss[order])
    kept: np.ndarray = order[np.concatenate([[True], lowest[1:] < lowest[:-1]])]
    if len(kept) > _MOST_STATES:
        # The last of each group of neighbours loses least.
        kept = kept[np.linspace(0, len(kept) - 1, _MOST_STATES).astype(np.int64)]
    return kept


def _followed(trail: Sequence[tuple[np.ndarray, np.ndarray]], state: int) -> list[int]:
    """The options that led to a state."""
    chosen = []
    for parents, options in reversed(trail):
        chosen.append(int(options[state]))
        state = int(parents[state])
    return chosen[::-1]

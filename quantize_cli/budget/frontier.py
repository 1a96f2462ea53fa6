"""What more bytes would buy: the least loss that can be had at each size."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantize_cli.budget.options import TypeChoice, TypeChoices
from quantize_cli.budget.search import OverBudgetError, search, steps

_MORE = ((1.01, 0), (1.05, 0), (1, 100_000_000))
"""One per cent more, five, a hundred megabytes."""


@dataclass(frozen=True)
class Point:
    """A size of the file, and the mean KL divergence it is predicted to have."""

    nbytes: int
    loss: float


def best(menu: TypeChoices, nbytes: int) -> Point:
    """The best file of at most `nbytes`; OverBudgetError naming the smallest that can be made."""
    chosen = chosen_within(menu, nbytes)
    return Point(menu.fixed_nbytes + sum(option.nbytes for option in chosen), sum(option.loss for option in chosen))


def chosen_within(menu: TypeChoices, nbytes: int) -> tuple[TypeChoice, ...]:
    """The choice of least loss for a file of at most `nbytes`; OverBudgetError that names the smallest file."""
    if nbytes < menu.smallest:
        raise OverBudgetError(
            f"{nbytes} bytes are too few, the smallest file that can be made has {menu.smallest}",
            hint=f"--size {menu.smallest}, or types of fewer bits",
        )
    return search(list(menu.options.values()), nbytes - menu.fixed_nbytes)


def next_points(menu: TypeChoices, nbytes: int) -> list[tuple[int, Point]]:
    """The budget, then each larger one of a few that lowers the loss; with each the best file within it."""
    points = [(nbytes, best(menu, nbytes))]
    for factor, more in _MORE:
        budget = int(nbytes * factor) + more
        point = best(menu, budget)
        if point.loss < points[-1][1].loss:
            points.append((budget, point))
    return points


def curve(menu: TypeChoices) -> Sequence[Point]:
    """From the smallest file to the largest, each step the one that buys most per byte."""
    nbytes = menu.smallest
    loss = sum(choices[0].loss for choices in menu.options.values())
    points = [Point(nbytes, loss)]
    for step in steps(list(menu.options.values())):
        nbytes, loss = nbytes + step.nbytes, loss - step.gain
        points.append(Point(nbytes, max(loss, 0.0)))
    return points

"""What more bytes would buy: the least loss that can be had at each size."""

from collections.abc import Sequence
from dataclasses import dataclass

from quantize_cli.budget.options import TypeChoices
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
    chosen = search(list(menu.options.values()), free_nbytes(menu, nbytes))
    return Point(menu.fixed_nbytes + sum(option.nbytes for option in chosen), sum(option.loss for option in chosen))


def free_nbytes(menu: TypeChoices, nbytes: int) -> int:
    """Bytes of a file of `nbytes` that are left for what is chosen; OverBudgetError when even the least is more."""
    if nbytes < menu.smallest:
        raise OverBudgetError(
            f"{nbytes} bytes are too few, the smallest file that can be made has {menu.smallest}",
            hint=f"--size {menu.smallest}, or types of fewer bits",
        )
    return nbytes - menu.fixed_nbytes


def next_points(menu: TypeChoices, nbytes: int) -> list[tuple[int, Point]]:
    """For a budget, and for each of some larger ones that buy more: the budget and the best file within it."""
    found = [(nbytes, best(menu, nbytes))]
    for factor, more in _MORE:
        budget = int(nbytes * factor) + more
        point = best(menu, budget)
        if point.loss < found[-1][1].loss:
            found.append((budget, point))
    return found


def curve(menu: TypeChoices) -> Sequence[Point]:
    """From the smallest file to the largest, each step the one that buys most per byte."""
    nbytes = menu.smallest
    loss = sum(found[0].loss for found in menu.options.values())
    points = [Point(nbytes, loss)]
    for step in steps(list(menu.options.values())):
        nbytes, loss = nbytes + step.nbytes, loss - step.gain
        points.append(Point(nbytes, max(loss, 0.0)))
    return points

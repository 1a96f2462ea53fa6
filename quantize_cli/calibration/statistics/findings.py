"""What an importance matrix shows of a model and of the text: experts never reached, channels far above the rest."""

from dataclasses import dataclass

import numpy as np

from quantize_cli.formats.imatrix import Entry

OUTLIER = 100
"""A channel is one when its mean square is so many times the median of its matrix."""


@dataclass(frozen=True)
class Finding:
    """Of one weight."""

    name: str
    matrices: int
    columns: int
    inputs: int
    """Activations that its matrices were given in all."""
    experts_without_tokens: tuple[int, ...]
    """Matrices that were given none: experts."""
    outliers: int
    """Channels of all matrices that are."""
    worst: tuple[int, int]
    """The matrix and the channel farthest above the median."""
    worst_ratio: float
    """Its mean square over the median; 0 where there are no inputs."""

    @property
    def coverage(self) -> float:
        """The share of matrices that were given something."""
        return 1 - len(self.experts_without_tokens) / self.matrices


def find(entries: dict[str, Entry]) -> tuple[Finding, ...]:
    """What there is to say of each weight, in the order of their names."""
    return tuple(_find(name, entries[name]) for name in sorted(entries))


def _find(name: str, entry: Entry) -> Finding:
    ratios = _ratios(entry)
    worst = int(ratios.argmax())
    matrices, columns = ratios.shape
    return Finding(
        name, matrices, columns, int(entry.counts.sum()),
        experts_without_tokens=tuple(np.flatnonzero(entry.counts == 0).tolist()),
        outliers=int((ratios > OUTLIER).sum()),
        worst=(worst // columns, worst % columns),
        worst_ratio=float(ratios.flat[worst]),
    )  # fmt: skip


def _ratios(entry: Entry) -> np.ndarray:
    """Each channel's sum of squares over the median of those of its matrix that are not zero, (matrices, columns)."""
    ratios = np.zeros_like(entry.squares)
    for row, squares in zip(ratios, entry.squares, strict=True):
        alive = squares[squares > 0]
        if alive.size:
            row[:] = squares / np.median(alive)
    return ratios

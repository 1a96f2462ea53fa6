"""What matrices were given to multiply: how large in each column, how often each expert, and some of it as it was."""

from dataclasses import dataclass, field
from math import prod

import numpy as np

from quantize_cli.jit.matrices import add_gram, multiply
from quantize_cli.machine import processors
from quantize_cli.model.tensor import Tensor


@dataclass
class Seen:
    """What the matrices of one tensor were given."""

    counts: np.ndarray
    """Activations that each matrix met, (matrices,) i64."""
    squares: np.ndarray
    """Their sums of squares, (matrices, columns) f64."""
    largest: np.ndarray
    """Their largest magnitudes, (matrices, columns) f32."""
    samples: dict[int, list[np.ndarray]] = field(default_factory=dict)
    """By matrix, some of them, (n, columns) f32 each."""
    moments: np.ndarray | None = None
    """The sum of their outer products, (columns, columns) f32, of all matrices together; None where not asked for."""

    def importance(self) -> np.ndarray:
        """Mean squares (matrices, columns) f32; ones for a matrix that met nothing, as in llama.cpp."""
        counts = self.counts[:, None]
        means: np.ndarray = np.divide(self.squares, counts, out=np.ones_like(self.squares), where=counts > 0)
        return means.astype(np.float32)

    def output_error(self, error: np.ndarray) -> float:
        """Squared length of what an error (rows, columns) f32 of the weights adds, summed over all activations.

        Where there are moments, as if each matrix had met what all together did.
        """
        if self.moments is not None:
            return float(np.multiply(multiply(error, self.moments, processors()), error, dtype=np.float64).sum())
        rows = len(error) // len(self.counts)
        total = 0.0
        for number, parts in self.samples.items():
            x = np.concatenate(parts)
            added = multiply(x, error[number * rows : (number + 1) * rows].T, processors())
            total += float(np.square(added).sum(dtype=np.float64)) * self.counts[number] / len(x)
        return total


class Inputs:
    """Remembers what the tensors of a model are given; to be called as a `Watch`."""

    def __init__(self, tensors: dict[str, Tensor], sample: int, moments: bool = False) -> None:
        """`sample` activations of those that a matrix is shown at once are kept, or their `moments`."""
        self.seen: dict[str, Seen] = {}
        self._tensors = tensors
        self._sample = sample
        self._moments = moments

    def __call__(self, name: str, number: int, x: np.ndarray) -> None:
        if name not in self._tensors or not len(x):
            return
        if name not in self.seen:
            matrices, columns = prod(self._tensors[name].shape[:-2]), x.shape[1]
            self.seen[name] = Seen(
                np.zeros(matrices, np.int64), np.zeros((matrices, columns)), np.zeros((matrices, columns), np.float32)
            )
        seen = self.seen[name]
        seen.counts[number] += len(x)
        seen.squares[number] += np.square(x, dtype=np.float64).sum(axis=0)
        np.maximum(seen.largest[number], np.abs(x).max(axis=0), out=seen.largest[number])
        if not self._moments:
            seen.samples.setdefault(number, []).append(x[:: -(-len(x) // self._sample)].copy())
        else:
            found = np.zeros((x.shape[1], x.shape[1])) if seen.moments is None else seen.moments.astype(np.float64)
            add_gram(found, x, threads=processors())
            seen.moments = found.astype(np.float32)

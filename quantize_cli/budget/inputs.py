"""The activations that matrices multiply: column sizes, counts by expert, and samples."""

from dataclasses import dataclass, field
from math import prod

import numpy as np

from quantize_cli.calibration.statistics.observer import Input, NarrowMoments, Observer, Sample, Squares
from quantize_cli.jit.matrices import multiply
from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.observed_layer import input_of


@dataclass(frozen=True)
class TensorInputs:
    """The activations of the matrices of one tensor."""

    counts: np.ndarray
    """Activations that each matrix met, (matrices,) i64."""
    squares: np.ndarray
    """Their sums of squares, (matrices, columns) f64."""
    samples: dict[int, list[np.ndarray]] = field(default_factory=dict)
    """By matrix, some of them, (n, columns) f32 each."""
    moments: np.ndarray | None = None
    """The sum of their outer products, (columns, columns) f32, of all matrices together; None where not asked for."""
    threads: int = 1
    """That multiply."""

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
            return float(np.multiply(multiply(error, self.moments, self.threads), error, dtype=np.float64).sum())
        rows = len(error) // len(self.counts)
        total = 0.0
        for number, parts in self.samples.items():
            x = np.concatenate(parts)
            added = multiply(x, error[number * rows : (number + 1) * rows].T, self.threads)
            total += float(np.square(added).sum(dtype=np.float64)) * self.counts[number] / len(x)
        return total


class LayerInputs:
    """The activations of the tensors of a layer, as an observer sees them."""

    def __init__(self, observer: Observer, sample: int, moments: bool = False, threads: int = 1) -> None:
        """`sample` activations of those that a matrix is shown at once are kept, or their `moments`."""
        self._threads = threads
        self._squares = observer.collect(Squares)
        self._samples: dict[Input, Sample] = {}
        self._moments: dict[Input, NarrowMoments] = {}
        if moments:
            self._moments = observer.collect(
                lambda columns: NarrowMoments(columns, threads), lambda input_: (input_[0], 0)
            )
        else:
            self._samples = observer.collect(lambda columns: Sample(sample))

    def of(self, tensor: Tensor) -> TensorInputs | None:
        """The activations of a tensor so far; None if there are none."""
        keys = [(input_of(tensor.name), number) for number in range(prod(tensor.shape[:-2]))]
        if not any(key in self._squares for key in keys):
            return None
        squares = [self._squares.get(key) or Squares(tensor.columns) for key in keys]
        return TensorInputs(
            counts=np.array([each.count for each in squares]),
            squares=np.stack([each.total for each in squares]),
            samples={key[1]: self._samples[key].parts for key in keys if key in self._samples},
            moments=self._moments[keys[0]].second if keys[0] in self._moments else None,
            threads=self._threads,
        )

"""Sums over the activations that a model's matrices multiply, one chunk of a text after the other."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantize_cli.calibration.statistics.observer import Observer
from quantize_cli.errors import InputError
from quantize_cli.evaluation.evaluated_model import EvaluatedModel
from quantize_cli.formats.imatrix import Entry, ImportanceFile, to_file_precision
from quantize_cli.formats.quoted import quoted
from quantize_cli.model.source import Model
from quantize_cli.pipeline.plan import Importance
from quantize_cli.runtime.observed_layer import input_of, observed_shapes, observed_transformer
from quantize_cli.runtime.transformer import Transformer, from_model

Shapes = dict[str, tuple[int, int]]
"""(matrices, columns) by weight name."""

OUTPUT = "output.weight"
_WIDENED = 1 << 18
"""Numbers widened to float64 at once, 2 MB that stay in a cache: three times faster than a chunk of a large model."""


def shapes_of(transformer: Transformer, process_output: bool) -> Shapes:
    """What is collected for a model: the names that llama-imatrix collects.

    Those are all matrices of the layers, and the output if it is asked for and a matrix of its own: where the token
    embedding stands in for it, llama-imatrix knows it by that name and passes it over.
    """
    shapes = observed_shapes(transformer)
    output = transformer.output.matrix.tensor
    if process_output and output.name == OUTPUT:
        shapes[OUTPUT] = 1, output.columns
    return shapes


def fingerprint(subject: EvaluatedModel) -> str:
    """SHA-256 of the vocabulary and of each tensor's name, shape, type and first row: enough to tell models apart."""
    digest = hashlib.sha256(subject.digest)
    for tensor in subject.model.tensors:
        digest.update(f"{tensor.name} {tensor.shape} {tensor.type.name}\n".encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(tensor.read(0, 1)).view(np.uint8).tobytes())
    return digest.hexdigest()


def importance_of(
    model: Model, chunks: np.ndarray, advance: Callable[[int], None], threads: int | None = None
) -> tuple[Importance, dict[str, tuple[int, ...]]]:
    """What errors in the columns of the model's matrices cost, by the tokens (chunks, context) that it reads.

    By name too, the matrices that were given nothing: experts. `advance` is called after each chunk.
    """
    transformer = from_model(model, threads)
    collector = Collector(model.path, transformer, shapes_of(transformer, process_output=False), None)
    for number, tokens in enumerate(chunks, 1):
        collector.run(number, tokens)
        advance(1)
    entries = collector.entries()
    means = ImportanceFile(entries, (), len(chunks)).means
    idle = {name: tuple(np.flatnonzero(entry.counts == 0).tolist()) for name, entry in entries.items()}
    return (
        {name: np.ascontiguousarray(values, np.float32) for name, values in means.items()},
        {name: numbers for name, numbers in idle.items() if numbers},
    )


class StoredSums:
    """How many activations there were, their sums and those of their squares, (columns,) f64, as a file keeps them."""

    def __init__(self, columns: int) -> None:
        self.count, self.sums, self.squares = 0.0, np.zeros(columns), np.zeros(columns)

    def add(self, x: np.ndarray) -> None:
        squares, sums = self.squares.copy(), self.sums.copy()
        step = max(1, _WIDENED // x.shape[1])
        for start in range(0, len(x), step):
            wide = x[start : start + step].astype(np.float64)
            sums += wide.sum(axis=0)
            squares += np.square(wide, out=wide).sum(axis=0)
        self.squares, self.sums = to_file_precision(squares), to_file_precision(sums)
        self.count += len(x)


class Collector:
    """The sums so far, and the model that adds to them.

    Chunks are run one by one and sums kept as a file keeps them, so that it makes no difference where a run stopped
    and went on. InputError when a matrix is given what is not finite.
    """

    def __init__(self, path: Path, transformer: Transformer, shapes: Shapes, begun: dict[str, Entry] | None) -> None:
        self._path, self._shapes, self._chunk = path, shapes, 0
        self._transformer = observed_transformer(transformer, self._add)
        self._observer = Observer()
        self._sums = self._observer.collect(StoredSums)
        for name, entry in (begun or {}).items():
            assert entry.sums is not None
            for number, count in enumerate(entry.counts):
                sums = self._sums[input_of(name), number] = StoredSums(entry.squares.shape[1])
                sums.count, sums.sums, sums.squares = float(count), entry.sums[number], entry.squares[number]

    def run(self, chunk: int, tokens: np.ndarray) -> None:
        """Add what the tokens (context,) of chunk number `chunk`, counted from 1, give the matrices."""
        self._chunk = chunk
        hidden = self._transformer.hidden(tokens)
        if OUTPUT in self._shapes:
            self._add(OUTPUT, 0, hidden)

    def entries(self) -> dict[str, Entry]:
        """By tensor name, what each of its matrices was given so far."""
        return {name: self._entry(name, *shape) for name, shape in self._shapes.items()}

    def _entry(self, name: str, matrices: int, columns: int) -> Entry:
        sums = [self._sums.get((input_of(name), number)) or StoredSums(columns) for number in range(matrices)]
        return Entry(
            np.stack([each.squares for each in sums]),
            np.array([each.count for each in sums]),
            np.stack([each.sums for each in sums]),
        )

    def _add(self, name: str, number: int, x: np.ndarray) -> None:
        self._observer(name, number, x)
        if not np.isfinite(self._sums[input_of(name), number].squares).all():
            raise InputError(f"{self._path}: {quoted(name)} {_trouble(x)}, in chunk {self._chunk}")


def _trouble(x: np.ndarray) -> str:
    """What is wrong with activations (n, columns) whose squares no float32 holds."""
    wrong = np.argwhere(~np.isfinite(x))
    if len(wrong):
        row, column = wrong[0]
        return f"is given {x[row, column]} in column {column}"
    return f"is given up to {np.abs(x).max():.3g}, the squares of which add up to more than float32 holds"

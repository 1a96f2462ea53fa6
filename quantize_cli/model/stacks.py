"""Matrices of one shape as one stack, each read from where it is stored.

Checkpoints store every expert of a mixture by itself, GGUF files all experts of a layer in one tensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.sources import LOSSLESS, Dequantized, Repackable, Source, UnderScale
from quantize_cli.model.tensor import Tensor


@dataclass(frozen=True)
class Stacked:
    """The rows of one matrix after another, and their blocks where every matrix has them."""

    sources: tuple[Source, ...]
    matrix_rows: int

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self._joined(lambda source, first, last: source.rows(first, last), start, stop)

    @property
    def block_types(self) -> tuple[GgmlType, ...]:
        """The types that may hold all of the matrices, in the order of the first."""
        offered = [source.block_types if isinstance(source, Repackable) else () for source in self.sources]
        return tuple(type_ for type_ in offered[0] if all(type_ in types for types in offered))

    def repacking(self, type_: GgmlType) -> str:
        """What is said of the matrix that loses most: "" where one cannot be held, as of `Repackable`."""
        ways = {source.repacking(type_) for source in self.sources if isinstance(source, Repackable)}
        return "" if "" in ways else next(iter(sorted(ways - {LOSSLESS})), LOSSLESS)

    def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
        def read(source: Source, first: int, last: int) -> np.ndarray:
            assert isinstance(source, Repackable)
            return source.blocks(type_, first, last)

        return self._joined(read, start, stop)

    def scale_beside(self, type_: GgmlType) -> np.ndarray | None:
        """One scale for each matrix; None where none of them needs one."""
        scales = [source.scale_beside(type_) if isinstance(source, UnderScale) else None for source in self.sources]
        if all(scale is None for scale in scales):
            return None
        one = np.ones(1, np.float32)
        return np.concatenate([one if scale is None else scale for scale in scales])

    def _joined(self, read: Callable[[Source, int, int], np.ndarray], start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) by reading a range of each matrix that they are part of."""
        parts = []
        while start < stop:
            matrix, first = divmod(start, self.matrix_rows)
            last = min(self.matrix_rows, first + stop - start)
            parts.append(read(self.sources[matrix], first, last))
            start += last - first
        return np.concatenate(parts) if parts else read(self.sources[0], 0, 0)


def stack(name: str, matrices: Sequence[Tensor]) -> Tensor:
    """One tensor (matrices, rows, columns) of matrices of one shape, named `name`; nothing is read.

    InputError for matrices of different types, and where only some are quantized.
    """
    first = matrices[0]
    for other in matrices[1:]:
        if (other.type, bool(other.scheme)) != (first.type, bool(first.scheme)):
            raise InputError(
                f"{other.origin} is {_stored_as(other)}, and {first.origin} of the same stack is {_stored_as(first)}",
                hint="the matrices of a stack become one tensor, so they are stored in one way",
            )
    rows = first.shape[0]
    source: Source = Stacked(tuple(tensor.source for tensor in matrices), rows)
    if first.scheme:
        inner = tuple(_decoded(tensor).source for tensor in matrices)
        source = Dequantized(Stacked(inner, rows), ", ".join(sorted({tensor.scheme for tensor in matrices})))
    return replace(first, name=name, shape=(len(matrices), *first.shape), source=source)


def _decoded(tensor: Tensor) -> Dequantized:
    """The rows that a scheme decodes; InputError where something was made of them before they were stacked."""
    if not isinstance(tensor.source, Dequantized):
        raise InputError(f"{tensor.origin}: quantized with {tensor.scheme}, changed rows of it cannot be stacked")
    return tensor.source


def _stored_as(tensor: Tensor) -> str:
    return tensor.scheme or tensor.type.name.lower()

"""How weights are rounded to a type, by default as `convert` rounds them, on all threads."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from formats.ggml import GgmlType, row_nbytes
from quantize_cli import quants

Encode = Callable[[str, GgmlType, np.ndarray], np.ndarray]
"""The bytes (rows, row bytes) u8 of a tensor's weights (rows, columns) f32, stacked matrices one after the other."""

_CHUNK_WEIGHTS = 1 << 19


def weighted(importance: Mapping[str, np.ndarray], threads: int) -> Encode:
    """Rounding in which errors cost what `importance` says, (matrices, columns) f32 by tensor; looked up when used."""

    def encode(name: str, type_: GgmlType, weights: np.ndarray) -> np.ndarray:
        rows, columns = weights.shape
        stored = np.empty((rows, row_nbytes(type_, columns)), np.uint8)
        costs = importance.get(name)
        per_matrix = rows if costs is None else rows // len(costs)
        chunk = max(1, _CHUNK_WEIGHTS // columns)

        def work(start: int) -> None:
            matrix = start // per_matrix
            part = slice(start, min(start + chunk, (matrix + 1) * per_matrix))
            quants.encode(type_, weights[part], None if costs is None else costs[matrix], stored[part])

        starts = [base + at for base in range(0, rows, per_matrix) for at in range(0, per_matrix, chunk)]
        quants.compile((type_,), weighted=costs is not None)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, starts))
        return stored

    return encode

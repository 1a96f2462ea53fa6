"""Where a model's weights lie while it runs: in memory of large pages if there is room for them twice, else mapped.

Read from a mapped file, whose pages are small, weights came at 28 GB/s on two cores; from large pages at 33,
as each page has to be looked up. The files' own copy in the system's cache is given up when memory is wanted.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quantize_cli.runtime.matrix import Matrix, release

_ALIGNMENT = 64
_MEMORY = Path("/proc/meminfo")


def make_resident(matrices: Sequence[Matrix]) -> None:
    """Copy the matrices that files hold into one piece of memory, for which numpy asks for large pages."""
    matrices = [matrix for matrix in matrices if matrix.tensor.stored_at]
    sizes = [-(-matrix.stored.nbytes // _ALIGNMENT) * _ALIGNMENT for matrix in matrices]
    if 2 * sum(sizes) > _available():
        return
    memory, start = np.empty(sum(sizes), np.uint8), 0
    for matrix, size in zip(matrices, sizes, strict=True):
        place = memory[start : start + matrix.stored.nbytes].reshape(matrix.stored.shape)
        matrix.move(place)
        start += size
    for path in {matrix.tensor.stored_at[0] for matrix in matrices if matrix.tensor.stored_at}:
        release(path)


def _available() -> int:
    """Bytes of memory that may be used without moving others out; zero where the system does not say."""
    if not _MEMORY.exists():
        return 0
    stated = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
    return int(stated.get("MemAvailable", "0 kB").split()[0]) * 1024

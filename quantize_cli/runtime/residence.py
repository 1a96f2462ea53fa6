"""Where a model's weights lie while it runs: in memory of large pages if there is room for them twice, else mapped.

Two cores read weights at 28 GB/s from a mapped file, whose pages are small, and at 33 GB/s from large pages, because
each page has to be looked up. The system may drop the file's copy in its cache when it needs memory.
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
        matrix.move(memory[start : start + matrix.stored.nbytes].reshape(matrix.stored.shape))
        start += size
    for path in {matrix.tensor.stored_at[0] for matrix in matrices if matrix.tensor.stored_at}:
        release(path)


def _available() -> int:
    """Bytes of memory that are free without taking any from other programs; zero where the system does not say."""
    if not _MEMORY.exists():
        return 0
    fields = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
    return int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024

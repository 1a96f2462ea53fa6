"""How fast this machine reads and copies memory: the bound of everything that reads each weight once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

_NBYTES = 256 << 20
"""More than caches hold."""


class Memory:
    """Two stretches of memory, each read or written by all threads at once, a part by each."""

    def __init__(self, threads: int, nbytes: int = _NBYTES) -> None:
        words = np.arange(nbytes // 8)
        self.nbytes = words.nbytes
        self._read, self._written = (np.array_split(part, threads) for part in (words, np.zeros_like(words)))
        self._pool = ThreadPoolExecutor(threads, "quantize-bench")

    def read(self) -> int:
        """Read all of the first; gives the largest word, which no part could tell alone."""
        return max(int(largest) for largest in self._pool.map(np.max, self._read))

    def copy(self) -> None:
        """Make the second what the first is."""
        for _ in self._pool.map(np.copyto, self._written, self._read):
            pass

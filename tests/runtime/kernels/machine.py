"""One operation run by itself."""

from functools import cache

import numpy as np

from quantize_cli.jit.operation import Operation
from quantize_cli.runtime.program import Program, Threads

threads = cache(Threads)


def run(operation: Operation, *, count: int = 1, **arguments: np.ndarray | float) -> None:
    program = Program()
    program.add(operation, **arguments)
    program.run(threads(count))


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)

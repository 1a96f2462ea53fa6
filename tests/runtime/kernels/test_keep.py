"""Keys and values are put where attention looks for them, and nothing else is written."""

import numpy as np
import pytest

from quantize_cli.runtime.kernels.keep import keep
from quantize_cli.runtime.program import Program
from tests.runtime.kernels.machine import numbers, run, threads


@pytest.mark.parametrize("threads_", [1, 2])
@pytest.mark.parametrize(("count", "stored"), [(1, 0), (1, 17), (5, 30), (48, 0), (33, 15)])
@pytest.mark.parametrize(("sequences", "heads", "width"), [(1, 2, 16), (3, 1, 7), (2, 3, 20)])
def test_keep(sequences: int, heads: int, width: int, count: int, stored: int, threads_: int) -> None:
    capacity = 48
    keys, values = (numbers(seed, sequences * count, heads * width) for seed in (0, 1))
    all_keys, all_values = (
        numbers(2, sequences * heads * width, capacity),
        numbers(3, sequences * heads * capacity, width),
    )
    expected_keys = all_keys.reshape(sequences, heads * width, capacity).copy()
    expected_values = all_values.reshape(sequences, heads, capacity, width).copy()
    now = slice(stored, stored + count)
    expected_keys[:, :, now] = keys.reshape(sequences, count, -1).swapaxes(1, 2)
    expected_values[:, :, now] = values.reshape(sequences, count, heads, width).swapaxes(1, 2)
    cache: dict[str, np.ndarray] = {"all_keys": all_keys, "all_values": all_values, "stored": np.array([stored])}
    run(keep, keys=keys, values=values, **cache, count=threads_)
    assert np.array_equal(all_keys, expected_keys.reshape(all_keys.shape))
    assert np.array_equal(all_values, expected_values.reshape(all_values.shape))


def test_a_program_run_again_reads_the_cell_again() -> None:
    keys, values = numbers(0, 1, 4), numbers(1, 1, 4)
    all_keys, all_values, stored = np.zeros((4, 16), np.float32), np.zeros((16, 4), np.float32), np.zeros(1, np.int64)
    program = Program()
    program.add(keep, keys=keys, values=values, all_keys=all_keys, all_values=all_values, stored=stored)
    for stored[0] in (2, 5):
        program.run(threads(1))
    assert all_keys.any(axis=0).nonzero()[0].tolist() == [2, 5]
    assert all_values.any(axis=1).nonzero()[0].tolist() == [2, 5]

"""How types that search nothing go through blocks of 32 weights: in batches, each block first a lane, then a vector.

What is one number for a block (its extremes, its scale) is computed for sixteen blocks in the lanes of a vector, twice
over, and kept in workspaces (1, BATCH); then each block's weights take their numbers from there.

Two measurements of Q8_0 behind this: batches of sixteen blocks, where nothing overlaps the divisions, took a quarter
more time; and without reading ahead the processor, which looks ahead less far than a batch, either computed or waited
for memory, and took half as much time again.
"""

from collections.abc import Callable

import numpy as np

from quantize_cli.jit.kernel import inlined, merged
from quantize_cli.jit.simd import absolute, all_lanes, fitting_int, minimum, select, splat, store, to_int

f32 = np.float32
BATCH = 32
INVERSES = 0
"""The row of a batch's numbers that holds its inverse scales."""

AHEAD = 64
"""How many blocks to read ahead: 8 KiB."""


def in_batches(fill: Callable[[np.ndarray, np.ndarray], None], weights: np.ndarray, blocks: np.ndarray) -> None:
    """Let `fill` (weights (n, 32) f32, blocks (n,) to be written), which needs n >= BATCH, do any number.

    That is all the remainder there is: the last batch may begin with blocks that a kernel has already been through.
    """
    count = len(blocks)
    if count >= BATCH:
        fill(weights, blocks)
    elif count:
        padded, filled = np.zeros((BATCH, 32), np.float32), np.empty(BATCH, blocks.dtype)
        padded[:count] = weights
        fill(padded, filled)
        blocks[:] = filled[:count]


@inlined
def store_inverse(numbers, part, scale):
    """numbers[INVERSES, part : part + 16] = 1 / scale, and 0 for 0.

    Gives whether all are finite: those of denormals may not be.
    """
    found = select(scale == splat(f32(0)), splat(f32(0)), f32(1) / scale)
    store(numbers, INVERSES, part, found)
    return all_lanes(absolute(found) < f32(np.inf))


@merged
def put_half(field, block, halves, row, lane):
    """field[block] = halves[row, lane]; unsigned, so that numba does not look for indices that count from the end."""
    field[np.uint64(block)] = halves[row, np.uint64(lane)]


@merged
def bounded_int(scaled, top, finite):
    """Codes from 0 to `top`, of numbers above -1 truncated.

    Where an inverse was not finite there are infinities, and NaN from zeros: the reference keeps their lowest byte.
    """
    return minimum(fitting_int(scaled), top) if finite else minimum(to_int(scaled) & 255, top)

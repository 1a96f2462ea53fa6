"""Tensors made again from their source, and held against those of a file: nothing is written."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from quantize_cli import quants
from quantize_cli.formats.stored import StoredTensor
from quantize_cli.pipeline.plan import Step

_CHUNK_WEIGHTS = 1 << 19


def first_difference(steps: Sequence[Step], held: Mapping[str, StoredTensor]) -> str | None:
    """The first of the tensors, by the plan's order, of which the file holds other bytes than its source gives.

    The steps are those of a plan without importance, of tensors that are held in the type planned. InputError for
    weights that cannot be quantized.
    """
    changed = [step for step in steps if step.type is not step.tensor.type]
    quants.compile_kernels({step.type for step in changed}, {step.tensor.type for step in changed})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        differing = pool.map(lambda step: _differs(step, held[step.tensor.name]), steps)
        return next((step.tensor.name for step, differs in zip(steps, differing, strict=True) if differs), None)


def _differs(step: Step, held: StoredTensor) -> bool:
    if held.shape != step.tensor.shape:
        return True
    chunk = max(1, _CHUNK_WEIGHTS // max(1, step.tensor.columns))
    for start in range(0, held.row_count, chunk):
        stop = min(start + chunk, held.row_count)
        rows = step.tensor.read(start, stop)
        if step.type is not step.tensor.type:
            rows = quants.encode(step.type, quants.decode(step.tensor.type, rows))
        if np.ascontiguousarray(rows).tobytes() != held.rows(start, stop).tobytes():
            return True
    return False

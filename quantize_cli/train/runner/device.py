"""Where tensors lie, and how torch computes there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from quantize_cli.errors import UsageError
from quantize_cli.evaluation.memory import largest_resident
from quantize_cli.machine import memory_nbytes

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> torch.device:
    """The device of that name; UsageError for one that is unknown or not there. `auto` takes a GPU if there is one."""
    if name not in DEVICES:
        raise UsageError(f"--device {name}: not one of {', '.join(DEVICES)}")
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UsageError("--device cuda: torch sees no GPU", hint="--device cpu")
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """In the block the same computation has the same bits each time, on one device; torch is then as it was before."""
    # cuBLAS reads it when it is used first.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def peak_nbytes(device: torch.device) -> int:
    """The most memory so far: of the GPU what tensors took, else of this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else largest_resident()


def available_nbytes(device: torch.device) -> int | None:
    """What there is: the GPU's free memory, else the machine's memory, where the system tells."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory_nbytes()

"""The memory of a model, measured in a process that only runs it once."""

import resource
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from quantize_cli.progress import Report


def peaks(paths: Sequence[Path], context: int, report: Report) -> list[int | None]:
    """Of each model the largest resident size of a process that opens it and runs one chunk of `context` tokens.

    None when that process ended without a result, for example because the system killed it for its memory.
    """
    chunk = np.zeros((1, context), np.int32)
    sizes = []
    with report.progress(len(paths), " models", "memory") as advance:
        for path in paths:
            sizes.append(peak_of(_run, path, chunk))
            advance(1)
    return sizes


def peak_of(work: Callable[..., None], *arguments: Any) -> int | None:
    """The largest resident size of a process that only calls `work`, a function of a module; None as above."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        nbytes: int = receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
        receiver.close()
    return nbytes


def _do(sender: Connection, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    work(*arguments)
    sender.send(largest_resident())


def _run(path: Path, chunk: np.ndarray) -> None:
    from quantize_cli.model.source import open_model
    from quantize_cli.runtime.transformer import from_model

    transformer = from_model(open_model(path))
    transformer.project(transformer.hidden(chunk)[:, chunk.shape[1] // 2 : -1])


def largest_resident() -> int:
    """Of this process since its exec; on Linux getrusage includes the process it was forked from."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

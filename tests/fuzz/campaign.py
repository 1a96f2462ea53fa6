"""Many inputs on some processes: started, watched, replaced when they die, and asked what they found."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path

import numpy as np

from tests.fuzz import worker
from tests.fuzz.readers import READERS
from tests.fuzz.seeds import Seed
from tests.fuzz.worker import Batch, Finding

_BATCH = 1000
_STALLED_SECONDS = 120
"""After so long on one input a worker waits for what never comes."""
_KEPT_OF_A_KIND = 3


@dataclass
class Outcome:
    """What a campaign did."""

    inputs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """By reader and kind of finding."""
    kept: list[tuple[Finding, Path]] = field(default_factory=list)
    """The first of each kind, with the folder of its files."""


@dataclass
class _Worker:
    batch: Batch
    process: int
    folder: Path
    at: np.ndarray
    """The number being read, and how many have been."""
    seen: int = -1
    since: float = 0.0


def shares(readers: Sequence[str], inputs: int) -> dict[str, int]:
    """How many of all inputs each reader gets, at least one."""
    whole = sum(READERS[name].share for name in readers)
    return {name: max(1, round(inputs * READERS[name].share / whole)) for name in readers}


def run(readers: Sequence[str], inputs: int, seed: int, jobs: int, scratch: Path, keep: Path) -> Outcome:
    """Read so many inputs on `jobs` processes; findings go to folders in `keep`."""
    outcome = Outcome()
    seeds = {name: READERS[name].seeds() for name in readers}
    waiting = list(_batches(shares(readers, inputs), seed))[::-1]
    running: list[_Worker] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            batch = waiting.pop()
            running.append(_started(batch, seeds[batch.reader], scratch))
        time.sleep(0.02)
        for each in list(running):
            status = _ended(each)
            if status is None:
                continue
            running.remove(each)
            rest = _taken_up(each, status, seeds[each.batch.reader], outcome, keep)
            if rest is not None:
                waiting.append(rest)
    return outcome


def _batches(counts: dict[str, int], seed: int) -> Iterator[Batch]:
    for name, count in counts.items():
        for start in range(0, count, _BATCH):
            yield Batch(name, start, min(start + _BATCH, count), seed)


def _started(batch: Batch, seeds: Sequence[Seed], scratch: Path) -> _Worker:
    folder = scratch / f"{batch.reader}-{batch.start}"
    folder.mkdir(parents=True, exist_ok=True)
    at = np.frombuffer(mmap(-1, 16), np.int64)
    at[:] = batch.start, 0
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        status = 70
        try:
            worker.work(batch, seeds, folder, folder / "report", at)
            status = 0
        finally:
            if status:
                import traceback

                (folder / "failure").write_text(traceback.format_exc())
            os._exit(status)
    return _Worker(batch, process, folder, at, since=time.monotonic())


def _ended(each: _Worker) -> int | None:
    """The wait status of a worker that has ended, by itself or because it stalled."""
    process, status = os.waitpid(each.process, os.WNOHANG)
    if process:
        return status
    if each.seen != each.at[1]:
        each.seen, each.since = int(each.at[1]), time.monotonic()
    elif time.monotonic() - each.since > _STALLED_SECONDS:
        os.kill(each.process, signal.SIGKILL)
    return None


def _taken_up(each: _Worker, status: int, seeds: Sequence[Seed], outcome: Outcome, keep: Path) -> Batch | None:
    """Count what a worker did; the rest of its batch, if it did not come to the end."""
    failure, report = each.folder / "failure", each.folder / "report"
    if failure.exists():
        raise RuntimeError(f"a seed of {each.batch.reader} is not read:\n{failure.read_text()}")
    outcome.inputs += int(each.at[1])
    found = [Finding(**json.loads(line)) for line in report.read_text().splitlines()] if report.exists() else []
    rest = replace(each.batch, start=int(each.at[0]))
    if os.WIFSIGNALED(status):
        found.append(Finding(each.batch.reader, rest.start, _death(os.WTERMSIG(status)), ""))
        rest = replace(rest, start=rest.start + 1)
    elif os.WEXITSTATUS(status) != worker.AGAIN:
        rest = replace(rest, start=rest.stop)
    for finding in found:
        _keep(finding, each.batch, seeds, outcome, keep)
    shutil.rmtree(each.folder)
    return rest if rest.start < rest.stop else None


def _death(number: int) -> str:
    if number == signal.SIGPROF:
        return f"more than {worker.CPU_SECONDS} s of processor time"
    return "stalled" if number == signal.SIGKILL else f"killed by {signal.Signals(number).name}"


def _keep(finding: Finding, batch: Batch, seeds: Sequence[Seed], outcome: Outcome, keep: Path) -> None:
    kind = f"{finding.reader}: {finding.kind}"
    outcome.counts[kind] += 1
    if outcome.counts[kind] > _KEPT_OF_A_KIND:
        return
    folder = keep / f"{finding.reader}-{batch.seed}-{finding.number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seed, content = worker.spoiled(batch, finding.number, seeds)
    for name, stored in {**seed.files, seed.target: content}.items():
        (folder / name).write_bytes(stored)
    outcome.kept.append((finding, folder / seed.target))

"""One process that reads one spoiled input after the other, and says what each cost.

Memory is the peak of what is resident (VmHWM, set back before each input through /proc/self/clear_refs), less what was
resident after the worker had read its seeds: all that the process took for this input, Python's share and the
libraries', and at most a little that earlier inputs left. Where the system has no such file, memory is not watched.
"""

import ctypes
import faulthandler
import gc
import json
import os
import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np

from quantize_cli.errors import QuantizeError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.memory_limit import allowed_memory
from tests.fuzz.readers import READERS
from tests.fuzz.seeds import Seed

CPU_SECONDS = 10
_LARGEST_NBYTES = 6 << 30
"""Where the system stops a worker that goes on taking memory."""
_DRIFT_NBYTES = 12 << 20
"""What earlier inputs may leave before a worker is replaced."""
_RESET = Path("/proc/self/clear_refs")
ROOT = Path(__file__).resolve().parents[2]

AGAIN = 75
"""The exit status of a worker that asks to be replaced."""


@dataclass(frozen=True)
class Batch:
    """Inputs [start, stop) of one reader."""

    reader: str
    start: int
    stop: int
    seed: int


@dataclass(frozen=True)
class Finding:
    """What one input did that it may not."""

    reader: str
    number: int
    kind: str
    """By which findings are counted together: the exception and its place, or what was exceeded."""
    detail: str


def spoiled(batch: Batch, number: int, seeds: Sequence[Seed]) -> tuple[Seed, bytes]:
    """Input `number` of a reader: the same bytes for the same seed, on every machine."""
    random = Random(f"{batch.seed} {batch.reader} {number}")
    seed = random.choice(list(seeds))
    return seed, seed.spoil(seed.files[seed.target], random)


def work(batch: Batch, seeds: Sequence[Seed], scratch: Path, report: Path, at: np.ndarray) -> None:
    """Read the batch in this process; findings are appended to `report`, `at` holds the number being read."""
    _confine()
    folders = [_written(seed, scratch / str(index)) for index, seed in enumerate(seeds)]
    reader = READERS[batch.reader]
    for seed, folder in zip(seeds, folders, strict=True):
        reader.read(folder, seed.target)
    at_rest = _settled()
    for number in range(batch.start, batch.stop):
        at[0], at[1] = number, at[1] + 1
        seed, content = spoiled(batch, number, seeds)
        folder = folders[list(seeds).index(seed)]
        _replace(folder / seed.target, content)
        for finding in judged(batch.reader, number, folder, seed.target, at_rest):
            with report.open("a") as file:
                file.write(json.dumps(asdict(finding)) + "\n")
        if at_rest and _resident("VmRSS") > at_rest + _DRIFT_NBYTES and _settled() > at_rest + _DRIFT_NBYTES:
            at[0] = number + 1
            os._exit(AGAIN)


def judged(reader: str, number: int, folder: Path, name: str, at_rest: int) -> list[Finding]:
    """What reading one input did that it may not."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    if at_rest:
        _RESET.write_text("5")
    found = []
    try:
        READERS[reader].read(folder, name)
    except (FormatError, QuantizeError) as error:
        if "\n" in str(error):
            found.append(Finding(reader, number, "an error of two lines", str(error)[:300]))
    except BaseException as error:
        found.append(Finding(reader, number, f"{type(error).__name__} at {_place(error)}", str(error)[:300]))
    signal.setitimer(signal.ITIMER_PROF, 0)
    if at_rest:
        taken = _resident("VmHWM") - at_rest
        allowed = allowed_memory(sum(path.stat().st_size for path in folder.iterdir()))
        if taken > allowed:
            found.append(Finding(reader, number, "memory", f"{taken >> 20} MB taken, {allowed >> 20} MB allowed"))
    return found


def alone(reader: str, folder: Path, name: str) -> None:
    """Read one input as it is, and let what happens happen."""
    _confine(quiet=False)
    READERS[reader].read(folder, name)


def _confine(quiet: bool = True) -> None:
    """Warnings are errors, and what takes too much is stopped by the system."""
    warnings.simplefilter("error")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    resource.setrlimit(resource.RLIMIT_AS, (_LARGEST_NBYTES, _LARGEST_NBYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if quiet:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _written(seed: Seed, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in seed.files.items():
        (folder / name).write_bytes(content)
    return folder


def _replace(path: Path, content: bytes) -> None:
    """A new file, as the old may be mapped."""
    path.unlink()
    path.write_bytes(content)


def _settled() -> int:
    """Bytes resident once all that can be given back is; 0 where the system does not say."""
    if not _RESET.exists():
        return 0
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _resident("VmRSS")


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _place(error: BaseException) -> str:
    """The last of our lines that an exception passed."""
    last = "?"
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and "tests" not in path.relative_to(ROOT).parts and ".venv" not in path.parts:
            last = f"{path.relative_to(ROOT)}:{line}"
    return last

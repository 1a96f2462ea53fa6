"""Protects the process from the libraries that read tokenizer files.

`tokenizers` is written in Rust: hostile files make it panic, which is no `Exception` in Python, or take time and memory
without end. A file that makes texts long is refused before the library reads it. A file with an unknown regular
expression is first read in another process, with limits of time and memory.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.limits import limit_process, run_limited
from quantize_cli.tokenizers.vocabulary.pretokenizer import is_known_pattern
from quantize_cli.tokenizers.vocabulary.text_growth import MAX_NBYTES, longest_text_nbytes

_FILE = "tokenizer.json"
_SECONDS = 20
"""Of processor time that a trial run may take; the largest vocabulary takes two."""
_MEMORY_NBYTES, _MEMORY_TIMES = 512 << 20, 32
"""Its limit of memory, and a multiple of the file's size besides; most of it is address space without use."""
_is_trial = False
"""Whether this process is the trial run."""


@contextmanager
def guard_libraries(checkpoint: Checkpoint) -> Iterator[None]:
    """Around the reading of a tokenizer: errors of the libraries become InputError, their output is dropped."""
    document = checkpoint.json(_FILE)
    if document is not None:
        _refuse(checkpoint, document)
    try:
        with _silence():
            yield
    except UnicodeError as error:
        raise InputError(f"{checkpoint.directory}: a token of the tokenizer is no text: {error}") from error
    except BaseException as error:
        # A panic is no Exception and its class cannot be imported; the other errors are bare Exceptions.
        if type(error).__name__ != "PanicException" and type(error) is not Exception:
            raise
        raise InputError(f"{checkpoint.directory}/{_FILE}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["not a tokenizer"])[0]


def _refuse(checkpoint: Checkpoint, document: Mapping[str, Any]) -> None:
    where = f"{checkpoint.directory}/{_FILE}"
    if longest_text_nbytes(document) > MAX_NBYTES:
        raise InputError(f"{where}: its normalizer, pre-tokenizer or decoder make texts longer than {MAX_NBYTES} bytes")
    if not _is_trial and _is_unusual(document):
        _run_trial(checkpoint, where)


def _is_unusual(document: Mapping[str, Any]) -> bool:
    """Whether a part has an unknown regular expression, or a precompiled table of replacements."""
    waiting: list[Any] = [part for name, part in document.items() if name not in ("model", "added_tokens")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            pattern = part.get("Regex")
            if part.get("type") == "Precompiled" or (isinstance(pattern, str) and not is_known_pattern(pattern)):
                return True
            waiting += part.values()
    return False


def _run_trial(checkpoint: Checkpoint, where: str) -> None:
    """InputError when a process that opens the checkpoint exceeds a limit, or is killed by a signal."""
    opened, nbytes = str(checkpoint.path.absolute()), (checkpoint.directory / _FILE).stat().st_size
    statement = (
        "from quantize_cli.model.source import open_model; "
        "from quantize_cli.tokenizers.vocabulary.library_guard import trial_run; "
        f"trial_run(open_model, {opened!r}, {_SECONDS}, {nbytes})"
    )
    child = run_limited(statement, _SECONDS, f"{where}: reading it")
    if child.returncode < 0:
        raise InputError(
            f"{where}: reading it ends the process by signal {-child.returncode}, or takes too much memory"
        )


def trial_run(open_model: Callable[[Path], object], path: str, seconds: int, nbytes: int) -> None:
    """The other process: opens the model. Its parent reports errors, so none are raised here."""
    global _is_trial
    _is_trial = True
    limit_process(seconds, _MEMORY_NBYTES + _MEMORY_TIMES * nbytes)
    with suppress(Exception):
        open_model(Path(path))


@contextmanager
def _silence() -> Iterator[None]:
    """Discard what libraries write to the standard error stream."""
    try:
        kept = os.dup(2)
    except OSError:
        # The process has no such stream.
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

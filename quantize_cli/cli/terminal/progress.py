"""A bar where a person watches, plain lines where a log is kept."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, NoReturn

from quantize_cli.cli.terminal.text import note, warn

if TYPE_CHECKING:
    from tqdm import tqdm

    from quantize_cli.progress import Advance, Report

_LINE_EVERY_SECONDS = 10.0


def report(quiet: bool, notes: bool = True) -> "Report":
    """A report to a person: `quiet` has no bar, and without `notes` there are only warnings."""
    from quantize_cli.progress import Report

    watched = partial(progress, quiet=quiet)
    return Report(note=note, warn=warn, progress=watched) if notes else Report(warn=warn, progress=watched)


@contextmanager
def progress(total: int, unit: str, what: str, quiet: bool = False) -> Iterator["Advance"]:
    """A function to call with each further amount done, out of `total`; safe to call from several threads."""
    if quiet:
        yield lambda amount, standing="": None
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, unit=unit, unit_scale=True, desc=what, leave=False, dynamic_ncols=True) as bar:
            yield partial(_advance, bar)
    else:
        yield _lines(total, what)


def _advance(bar: "tqdm[NoReturn]", amount: int, standing: str = "") -> None:
    if standing:
        bar.set_postfix_str(standing, refresh=False)
    bar.update(amount)


def _lines(total: int, what: str) -> "Advance":
    """A line every few seconds of long work, with how it stands; nothing for short work."""
    done, shown, lock = 0, time.monotonic(), Lock()

    def advance(amount: int, standing: str = "") -> None:
        nonlocal done, shown
        with lock:
            done += amount
            if time.monotonic() - shown >= _LINE_EVERY_SECONDS:
                shown = time.monotonic()
                more = f", {standing}" if standing else ""
                sys.stderr.write(f"{what} {100 * done / max(1, total):.0f} %{more}\n")

    return advance

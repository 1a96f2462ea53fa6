"""Where machine code is kept between runs, so that what cannot be read back is as if it had never been kept.

A file is a mark, the digest of what follows, and what follows. Nothing of it is believed before the digest is right:
unpickling a cut file raises whatever it likes, and machine code with zeros inside ends the process. No trouble of the
disk is an error: kernels are then compiled anew, and `uncached_reason` says why.
"""

import hashlib
import os
import secrets
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_MARK = b"quantize kernel\n"
_DIGEST_NBYTES = 32
_ROOMS = ("jit", "quants", "dots", "calibration", "runtime")
_troubles: list[str] = []


def uncached_reason() -> str | None:
    """Why a kernel that was compiled could not be kept; None if all were."""
    return _troubles[0] if _troubles else None


def compiling() -> str:
    """What to say while kernels are compiled."""
    directory, _ = _place()
    will_be = directory is not None and not _troubles and os.access(directory, os.W_OK)
    return "compiling kernels for this processor" + (", kept for next time" if will_be else "")


def load(name: str) -> bytes | None:
    """What was saved under a name; None if nothing was, or it is not as it was."""
    directory, _ = _place()
    if directory is None:
        return None
    try:
        content = (directory / name).read_bytes()
    except OSError:
        return None
    start = len(_MARK) + _DIGEST_NBYTES
    body = content[start:]
    return body if content[:start] == _MARK + hashlib.sha256(body).digest() else None


def save(name: str, body: bytes) -> None:
    """Keep `body`, whole or not at all; after the first that could not be kept no other is tried."""
    directory, trouble = _place()
    if directory is None:
        _troubles.append(trouble)
    if directory is None or _troubles:
        return
    unfinished = directory / f"{name}.{secrets.token_hex(8)}"
    try:
        unfinished.write_bytes(_MARK + hashlib.sha256(body).digest() + body)
        unfinished.replace(directory / name)
    except OSError as error:
        _troubles.append(f"{directory}: {(error.strerror or str(error)).lower()}")
        with suppress(OSError):
            unfinished.unlink()


@cache
def _place() -> tuple[Path | None, str]:
    """The directory, made if it was not there, or None and why there is none.

    It is named by a digest of all sources of kernels: one that changes may be merged into any other.
    """
    digest = hashlib.sha256()
    for room in _ROOMS:
        for source in sorted((_PACKAGE / room).rglob("*.py")):
            digest.update(source.read_bytes())
    try:
        directory = _user_cache() / "quantize" / digest.hexdigest()[:16]
    except RuntimeError:  # what Path.home raises for a user whom the system does not know
        return None, "there is no home directory, and XDG_CACHE_HOME is not set"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return None, f"{directory}: {(error.strerror or str(error)).lower()}"
    return directory, ""


def _user_cache() -> Path:
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")

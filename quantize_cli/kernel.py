"""How every numba function of the project is compiled and cached."""

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numba
from numba.core import config

_PACKAGE = Path(__file__).parent
OPTIONS = {"nogil": True, "error_model": "numpy"}
"""Strict IEEE arithmetic (no fastmath), C's division, the GIL released."""
_CONFIGURING = Lock()
"""numba takes the directory of its cache from a global, over which types imported by several threads would fight."""


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an array kernel; its machine code is kept on disk."""
    compiled: Callable[..., Any] = cached(numba.njit(**OPTIONS)(function))
    return compiled


def cached(compiler: Any) -> Any:
    """The same dispatcher or callback of numba, told to keep its machine code where ours is kept, if anywhere."""
    directory = _cache_directory()
    if directory is None:
        return compiler
    with _CONFIGURING:
        before, config.CACHE_DIR = config.CACHE_DIR, directory
        try:
            compiler.enable_caching()
        finally:
            config.CACHE_DIR = before
    return compiler


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of kernels: the same arithmetic, merged into its callers and not kept on its own."""
    compiled: Callable[..., Any] = numba.njit(**OPTIONS)(function)
    return compiled


def merged(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `inlined` where LLVM would not merge by itself: a call that passes six arrays costs as much as a loop.

    What takes a function must be merged: a call that is left passes an address of this process, and numba then warns
    that it cannot keep the machine code.
    """
    compiled: Callable[..., Any] = numba.njit(**OPTIONS, forceinline=True)(function)
    return compiled


@cache
def _cache_directory() -> str | None:
    """Where compiled kernels are kept, named by a digest of all their sources; None where nothing can be written.

    numba looks only at the file of the function itself, so a change in a helper elsewhere would go unnoticed.
    """
    sources = [
        _PACKAGE / "kernel.py",
        _PACKAGE / "half.py",
        _PACKAGE / "operation.py",
        _PACKAGE / "elementary.py",
        *sorted(_PACKAGE.glob("simd/*.py")),
        *sorted(_PACKAGE.glob("matrices/*.py")),
        *sorted(_PACKAGE.glob("quants/*.py")),
        *sorted(_PACKAGE.glob("dots/*.py")),
        *sorted(_PACKAGE.glob("calibrate/*.py")),
        *sorted(_PACKAGE.glob("runtime/**/*.py")),
    ]
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sources:
        digest.update(source.read_bytes())
    directory = _user_cache() / "quantize" / digest.hexdigest()[:16]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(directory) if os.access(directory, os.W_OK) else None


def _user_cache() -> Path:
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")

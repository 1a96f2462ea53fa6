"""How every numba function of the project is compiled and cached."""

import hashlib
import pickle
import platform
import re
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from quantize_cli.jit import kernel_cache

OPTIONS = {"nogil": True, "error_model": "numpy"}
"""Strict IEEE arithmetic (no fastmath), C's division, the GIL released."""
_VERSIONS = (numba.__version__, llvmlite.__version__, platform.python_implementation(), platform.python_version())


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile an array kernel; its machine code is kept on disk."""
    compiled: Callable[..., Any] = cached(numba.njit(**OPTIONS)(function), function)
    return compiled


def cached(compiler: Any, function: Callable[..., Any]) -> Any:
    """The same dispatcher or callback of numba, told to keep its machine code where ours is kept."""
    if function.__closure__:
        # Functions of one factory share their name, and numba tells symbols of one name apart by a count that begins
        # anew in every process: loaded from the disk, one could be taken for another.
        function.__qualname__ += f"_{hashlib.sha256(repr(_identity(function)).encode()).hexdigest()[:16]}"
    compiler._cache = _Cache(function)
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


class _Cache:
    """What numba asks of a cache (numba.core.caching.Cache), over `kept`.

    numba's own raises what a damaged file makes pickle raise, lets LLVM read machine code that is damaged, and takes
    a full disk for a reason to stop.
    """

    cache_path = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def load_overload(self, signature: Any, context: Any) -> Any:
        """The compiled function, or None where it must be compiled."""
        context.refresh()
        body = kernel_cache.load(self._name(signature, context.codegen()))
        if body is None:
            return None
        try:
            return CompileResult._rebuild(context, *pickle.loads(body))
        except Exception:  # whatever made it unreadable, compiling replaces it
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function, unless it holds addresses of this process."""
        if compiled.library.has_dynamic_globals or not all(part.can_cache for part in compiled.lifted):
            warnings.warn(f"machine code of {self._function.__qualname__} cannot be kept", stacklevel=2)
            return
        kernel_cache.save(self._name(signature, compiled.codegen), dumps(compiled._reduce()))

    def flush(self) -> None:
        """Nothing is held back."""

    def _name(self, signature: Any, codegen: Any) -> str:
        """A file name that differs wherever the machine code may."""
        key = (str(signature), codegen.magic_tuple(), _identity(self._function), _VERSIONS)
        function = self._function
        called = re.sub(r"\W+", "_", f"{function.__module__}.{function.__qualname__}".removeprefix("quantize_cli."))
        return f"{called}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"


def _identity(value: Any) -> Any:
    """What tells a function, or a value that one closes over, from others, alike in every process.

    Compiled functions and intrinsics hold numbers drawn anew in each process: pickling them will not do.
    """
    if isinstance(value, tuple):
        return tuple(map(_identity, value))
    function = getattr(value, "py_func", None) or getattr(value, "_defn", value)
    if not isinstance(function, FunctionType):
        return dumps(value)
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    code = function.__code__
    return function.__module__, code.co_name, code.co_firstlineno, code.co_code, _identity(cells)

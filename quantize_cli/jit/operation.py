"""Operations: kernels that a program calls by their address, on all threads at once, with no Python in between.

An operation is a function of its arguments (see arguments.py), and which of how many threads it is.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from quantize_cli.jit.arguments import Arguments
from quantize_cli.jit.kernel import OPTIONS, cached, merged

_I64 = ir.IntType(64)


class Callback:
    """A function that is called by its address, compiled when that is first asked for."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self._function, self._arguments = function, arguments

    @cached_property
    def address(self) -> int:
        """Where the machine code is."""
        return int(self._compiled.address)

    @cached_property
    def _compiled(self) -> Any:
        compiled = cached(CFunc(self._function, (self._arguments, types.void), {}, dict(OPTIONS)), self._function)
        compiled.compile()
        return compiled


class Operation(Callback):
    """A kernel that every thread of a program calls with the same arguments."""

    def __init__(self, function: Callable[..., None], arguments: Arguments) -> None:
        super().__init__(function, arguments, types.intp, types.intp)
        self.arguments = arguments


def operation(arguments: Arguments) -> Callable[[Callable[..., None]], Operation]:
    """Make an operation of a function `(args, thread, threads)`."""
    return lambda function: Operation(function, arguments)


def row_unpacker(function: Callable[..., None]) -> Callback:
    """Make of a function of five addresses and numbers what unpacks a row; see quantize_cli/dots/interface."""
    return Callback(function, *[types.int64] * 5)


# --- inside operations -------------------------------------------------------------------------------------------


@merged
def share(count, thread, threads):
    """The part [start, stop) of `count` equal pieces of work that is this thread's."""
    return count * thread // threads, count * (thread + 1) // threads


@intrinsic
def fetch_add(typing: Any, place: Any, amount: Any) -> Any:
    """Add to the int64 a pointer points at, as one step for all threads; gives what was there."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.atomic_rmw("add", args[0], args[1], "acq_rel")

    return types.int64(types.CPointer(types.int64), types.int64), codegen


@merged
def claim(args):
    """The next piece of work that no thread has taken yet: 0, 1, 2, ..."""
    return fetch_add(args.claims, 1)


@merged
def claim_part(args, count, threads):
    """The next part [start, stop) of `count` equal pieces of work; from `count` on when nothing is left.

    Each thread first gets most of its share in one run, since memory is read fastest in long runs, and then small
    parts, so that none waits long for the last.
    """
    ticket, large = claim(args), count * 3 // (4 * threads)
    if ticket < threads:
        return ticket * large, ticket * large + large
    small = (count - large * threads) // (8 * threads) + 1
    start = large * threads + (ticket - threads) * small
    return start, min(start + small, count)


# --- running them ------------------------------------------------------------------------------------------------


@intrinsic
def int64_at(typing: Any, address: Any) -> Any:
    """An address as a pointer to int64."""
    pointer = types.CPointer(types.int64)
    return pointer(types.int64), lambda context, builder, sig, args: builder.inttoptr(args[0], _I64.as_pointer())


@intrinsic
def load_acquire(typing: Any, place: Any) -> Any:
    """The int64 a pointer points at, as other threads left it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(types.CPointer(types.int64)), codegen


@intrinsic
def unpack_row(typing: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Call the row unpacker at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(ir.VoidType(), [_I64] * 5)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def call(typing: Any, address: Any, words_: Any, thread: Any, threads: Any) -> Any:
    """Call the operation at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(ir.VoidType(), [_I64.as_pointer(), _I64, _I64])
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(args[1], _I64.as_pointer()), args[2], args[3]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.intp, types.intp), codegen

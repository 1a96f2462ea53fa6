"""Operations: kernels that a program calls by their address, on all threads at once, with no Python in between.

An operation is a function of three numbers: where its words are, and which of how many threads it is. Word 0 counts
the parts of its work that threads have claimed; the others are plain numbers, and arrays as three words each: address,
rows, columns. Arrays are contiguous. What each word means is said by the operation's docstring.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from quantize_cli.jit.kernel import OPTIONS, cached, merged

_OPERATION = types.void(types.CPointer(types.int64), types.intp, types.intp)
_OPENER = types.void(*[types.int64] * 5)
_I64 = ir.IntType(64)


class Operation:
    """A kernel that is called by its address, compiled when that is first asked for."""

    def __init__(self, function: Callable[..., None], signature: Any = _OPERATION) -> None:
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self._function, self._signature = function, signature

    @cached_property
    def address(self) -> int:
        """Where the machine code is."""
        return int(self._compiled.address)

    @cached_property
    def _compiled(self) -> Any:
        signature = (self._signature.args, self._signature.return_type)
        compiled = cached(CFunc(self._function, signature, {}, dict(OPTIONS)), self._function)
        compiled.compile()
        return compiled


def operation(function: Callable[..., None]) -> Operation:
    """Make an operation of a function `(words, thread, threads)`."""
    return Operation(function)


def opener(function: Callable[..., None]) -> Operation:
    """Make of a function of five addresses and numbers what other operations call; see quantize_cli/dots."""
    return Operation(function, _OPENER)


def words(*arguments: np.ndarray | float) -> np.ndarray:
    """The words of an operation, its claims at zero. A vector is one row; the caller keeps the arrays alive."""
    found = [0]
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            if not argument.flags.c_contiguous:
                raise ValueError("an operation's arrays are contiguous")
            columns = argument.shape[-1]
            found += [argument.ctypes.data, argument.size // max(1, columns), columns]
        elif isinstance(argument, float):
            found.append(int(np.float32(argument).view(np.int32)))
        else:
            found.append(int(argument))
    return np.array(found, np.int64)


# --- inside operations -------------------------------------------------------------------------------------------


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer to anything."""
    return types.voidptr(types.int64), lambda context, builder, sig, args: builder.inttoptr(args[0], cgutils.voidptr_t)


@merged
def f32_array(words_, at):
    """The float32 array (rows, columns) of words at, at + 1, at + 2."""
    return carray(_pointer(words_[at]), (words_[at + 1], words_[at + 2]), np.float32)


@merged
def i32_array(words_, at):
    """The int32 array of three words."""
    return carray(_pointer(words_[at]), (words_[at + 1], words_[at + 2]), np.int32)


@merged
def u8_array(words_, at):
    """The uint8 array of three words."""
    return carray(_pointer(words_[at]), (words_[at + 1], words_[at + 2]), np.uint8)


@merged
def i8_array(words_, at):
    """The int8 array of three words."""
    return carray(_pointer(words_[at]), (words_[at + 1], words_[at + 2]), np.int8)


@intrinsic
def _as_float(typing: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


@merged
def f32_number(words_, at):
    """The float32 of one word."""
    return _as_float(words_[at])


@merged
def share(count, thread, threads):
    """The part [start, stop) of `count` equal pieces of work that is this thread's."""
    return count * thread // threads, count * (thread + 1) // threads


@intrinsic
def add_to(typing: Any, place: Any, amount: Any) -> Any:
    """Add to the int64 a pointer points at, as one step for all threads; gives what was there."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.atomic_rmw("add", args[0], args[1], "acq_rel")

    return types.int64(types.CPointer(types.int64), types.int64), codegen


@merged
def claim(words_):
    """The next piece of work that no thread has taken yet: 0, 1, 2, ..."""
    return add_to(words_, 1)


@merged
def claim_part(words_, count, threads):
    """The next part [start, stop) of `count` equal pieces of work; from `count` on when nothing is left.

    Each thread first gets most of its share in one run, since memory is read fastest in long runs, and then small
    parts, so that none waits long for the last.
    """
    ticket, large = claim(words_), count * 3 // (4 * threads)
    if ticket < threads:
        return ticket * large, ticket * large + large
    small = (count - large * threads) // (8 * threads) + 1
    start = large * threads + (ticket - threads) * small
    return start, min(start + small, count)


# --- running them ------------------------------------------------------------------------------------------------


@intrinsic
def place_of(typing: Any, address: Any) -> Any:
    """An address as a pointer to int64."""
    pointer = types.CPointer(types.int64)
    return pointer(types.int64), lambda context, builder, sig, args: builder.inttoptr(args[0], _I64.as_pointer())


@intrinsic
def look_at(typing: Any, place: Any) -> Any:
    """The int64 a pointer points at, as other threads left it."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(types.CPointer(types.int64)), codegen


@intrinsic
def call_opener(typing: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Call the opener at an address."""

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

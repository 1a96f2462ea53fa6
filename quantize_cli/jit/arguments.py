"""What an operation takes: named arrays and numbers, laid out as words of 64 bits.

Word 0 counts the parts of the work that threads have claimed. An array is three words: its address, rows and columns.
A number is one word.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import lower_getattr_generic, models, register_model
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

f32_array, i32_array, i64_array = types.float32[:, ::1], types.int32[:, ::1], types.int64[:, ::1]
i8_array, u8_array = types.int8[:, ::1], types.uint8[:, ::1]
f32_number, number = types.float32, types.int64
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_CLAIMS = types.CPointer(types.int64)


class Arguments(types.Type):
    """The names and types of what an operation takes.

    Inside the operation `args.NAME` is the array (rows, columns) or the number, and `args.claims` points at word 0.
    """

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.starts, start = {}, 1
        for name, kind in fields.items():
            self.starts[name] = start
            start += 3 if isinstance(kind, types.Array) else 1
        super().__init__(name=f"arguments({', '.join(f'{name}: {kind}' for name, kind in fields.items())})")

    def words(self, values: dict[str, np.ndarray | float]) -> np.ndarray:
        """The words of these values, nothing claimed. A vector is one row; the caller keeps the arrays alive."""
        if values.keys() != self.fields.keys():
            raise TypeError(f"an operation takes {', '.join(self.fields)}, not {', '.join(values)}")
        words = [0]
        for name, kind in self.fields.items():
            words += (
                _array_words(name, kind, values[name])
                if isinstance(kind, types.Array)
                else [_number_word(kind, values[name])]
            )
        return np.array(words, np.int64)


def _array_words(name: str, kind: Any, array: Any) -> list[int]:
    dtype = as_dtype(kind.dtype)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"argument '{name}' of an operation is a contiguous array of {dtype}")
    columns = array.shape[-1]
    return [array.ctypes.data, array.size // max(1, columns), columns]


def _number_word(kind: Any, value: Any) -> int:
    return int(np.float32(value).view(np.int32)) if kind == f32_number else int(value)


# --- inside operations -------------------------------------------------------------------------------------------


@register_model(Arguments)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, arguments: Arguments) -> None:
        super().__init__(manager, arguments, _I64.as_pointer())


@infer_getattr
class _Fields(AttributeTemplate):
    key = Arguments

    def generic_resolve(self, arguments: Arguments, name: str) -> Any:
        return _CLAIMS if name == "claims" else arguments.fields.get(name)


@lower_getattr_generic(Arguments)
def _read(context: Any, builder: ir.IRBuilder, arguments: Arguments, words: ir.Value, name: str) -> ir.Value:
    if name == "claims":
        return words
    kind, start = arguments.fields[name], arguments.starts[name]

    def word(index: int) -> ir.Value:
        return builder.load(builder.gep(words, [ir.Constant(_I64, start + index)]))

    if kind == f32_number:
        return builder.bitcast(builder.trunc(word(0), _I32), ir.FloatType())
    if not isinstance(kind, types.Array):
        return word(0)
    array = context.make_array(kind)(context, builder)
    address, rows, columns = word(0), word(1), word(2)
    itemsize = ir.Constant(_I64, as_dtype(kind.dtype).itemsize)
    populate_array(
        array, builder.inttoptr(address, array.data.type), shape=[rows, columns],
        strides=[builder.mul(columns, itemsize), itemsize], itemsize=itemsize, meminfo=None,
    )  # fmt: skip
    return array._getvalue()

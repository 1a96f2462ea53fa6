"""A metadata value is taken only as the kind and in the range that a reader expects."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf import scalars
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, flag, text, u32

ARRAY = Value(ValueType.ARRAY, np.array([1, 2], np.uint32), ValueType.UINT32)
REFUSED: dict[Callable[..., Any], dict[str, Value]] = {
    scalars.integer: {
        "an array of 2, not a whole number from 0 to 2147483647": ARRAY,
        "4611686018427387904, not": Value(ValueType.UINT64, 1 << 62),
        "-1, not": Value(ValueType.INT32, -1),
        "4.0, not": f32(4.0),
        "true, not": flag(True),
        "'two', not": text("two"),
    },
    scalars.number: {
        "an array of 2, not a number from -1e\\+30 to 1e\\+30": ARRAY,
        "nan, not": f32(float("nan")),
        "inf, not": f32(float("inf")),
        "1e\\+300, not": Value(ValueType.FLOAT64, 1e300),
        "false, not": flag(False),
    },
    scalars.string: {"an array of 1, not a string": array(ValueType.STRING, ["llama"]), "3, not": u32(3)},
    scalars.boolean: {"an array of 2, not true or false": ARRAY, "1, not": u32(1), "'yes', not": text("yes")},
}


@pytest.mark.parametrize(("read", "message"), [(read, message) for read in REFUSED for message in REFUSED[read]])
def test_another_kind_or_range_is_refused_by_key_and_value(read: Callable[..., Any], message: str) -> None:
    with pytest.raises(FormatError, match=f"^model.gguf: metadata key 'a.b' is {message}"):
        read("model.gguf: ", {"a.b": REFUSED[read][message]}, "a.b")


def test_what_is_of_the_kind_and_in_the_range_is_given() -> None:
    metadata = {"n": u32(3), "x": f32(0.5), "s": text("é"), "t": flag(False)}
    assert scalars.integer("", metadata, "n", lowest=3, highest=3) == 3
    assert scalars.number("", metadata, "n") == 3.0
    assert scalars.number("", metadata, "x", lowest=0.5) == 0.5
    assert scalars.string("", metadata, "s") == "é"
    assert scalars.boolean("", metadata, "t") is False


def test_a_missing_key_gives_the_default_or_is_named() -> None:
    assert (scalars.integer("", {}, "n", 7), scalars.boolean("", {}, "t", False)) == (7, False)
    with pytest.raises(FormatError, match=r"^a: metadata key 'n' is missing$"):
        scalars.integer("a: ", {}, "n")

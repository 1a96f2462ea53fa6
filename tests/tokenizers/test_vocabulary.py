"""Keys of a GGUF file's tokenizer that are of another type than llama.cpp reads are refused by name."""

from typing import Any

import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, flag, text, u32
from quantize_cli.tokenizers import load_tokenizer

TOKENS = ["a", "b", "ab"]


def metadata(kind: str, /, **keys: Value) -> dict[str, Value]:
    """A small vocabulary of that kind, with these keys."""
    return {
        "tokenizer.ggml.model": text(kind),
        "tokenizer.ggml.tokens": array(ValueType.STRING, TOKENS),
        "tokenizer.ggml.merges": array(ValueType.STRING, ["a b"]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [0.0, 0.0, -1.0]),
        "tokenizer.ggml.token_type": array(ValueType.INT32, [1, 1, 1]),
        **{f"tokenizer.ggml.{key}": value for key, value in keys.items()},
    }


FLAGS = ("add_bos_token", "add_eos_token", "add_space_prefix")
IDS = ("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "fim_pad_token_id")
NO_FLAG = (array(ValueType.BOOL, [True, False]), u32(1), text("true"), f32(1.0))
NO_ID = (array(ValueType.UINT32, [1, 2]), text("1"), f32(1.0), flag(True), f32(float("nan")))
NO_TEXT = (array(ValueType.STRING, ["a"]), u32(1), flag(True))
NO_TEXTS = (
    *(array(ValueType.FLOAT32, [1.0, 2.0, 3.0]), array(ValueType.BOOL, [True, False, True])),
    *(flag(True), text("a b"), u32(3)),
)
NO_TYPES = (
    *(array(ValueType.FLOAT32, [1.0, float("nan"), 1.0]), array(ValueType.STRING, ["1", "1", "1"]), u32(1)),
    *(array(ValueType.INT32, [1, 1]), array(ValueType.INT32, [1, 1, 1, 1]), array(ValueType.BOOL, [True] * 3)),
)
NO_SCORES = (
    *(array(ValueType.STRING, ["0", "0", "0"]), f32(1.0), array(ValueType.FLOAT32, [0.0] * 4)),
    *(array(ValueType.FLOAT32, [0.0, float("nan"), 0.0]), array(ValueType.FLOAT32, [])),
)
WRONG: list[tuple[str, Value]] = [
    *((key, value) for key in FLAGS for value in NO_FLAG),
    *((key, value) for key in IDS for value in NO_ID),
    *((key, value) for key in ("model", "pre") for value in NO_TEXT),
    *((key, value) for key in ("tokens", "merges") for value in NO_TEXTS),
    *(("token_type", value) for value in NO_TYPES),
    *(("scores", value) for value in NO_SCORES),
    *(("eog_token_ids", value) for value in (u32(1), text("a"), array(ValueType.STRING, ["a"]))),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda part: part if isinstance(part, str) else "")
def test_a_key_of_another_type_is_named(key: str, value: Value) -> None:
    with pytest.raises(InputError, match=rf"'tokenizer\.ggml\.{key}'"):
        load_tokenizer(metadata("gpt2", **{key: value}))


@pytest.mark.parametrize("model", ["gpt2", "llama"])
@pytest.mark.parametrize("number", [3, 1 << 31, (1 << 64) - 1])
def test_ids_beyond_the_vocabulary_count_as_unsaid(model: str, number: int) -> None:
    beyond = Value(ValueType.UINT64, number)
    found = load_tokenizer(metadata(model, eos_token_id=beyond, eot_token_id=beyond, bos_token_id=beyond))
    said = load_tokenizer(metadata(model))
    assert (found.bos_id, found.eos_id, found.end_ids) == (said.bos_id, said.eos_id, said.end_ids)


@pytest.mark.parametrize("number", [Value(ValueType.INT32, -1), Value(ValueType.INT64, -(1 << 63))])
def test_negative_ids_count_as_unsaid(number: Value) -> None:
    assert load_tokenizer(metadata("gpt2", eos_token_id=number)).end_ids == frozenset()


def test_ends_of_our_key_beyond_the_vocabulary_are_left_out() -> None:
    more = array(ValueType.UINT32, [0, 9])
    assert load_tokenizer(metadata("gpt2", eog_token_ids=more)).end_ids == {0}


@pytest.mark.parametrize("spelled", ["<0x_1>", "<0x 1>", "<0x+1>", "<0xé1>", "<0x1>", "x"])
def test_bytes_are_spelled_in_two_digits(spelled: str) -> None:
    values: dict[str, Any] = {"tokens": array(ValueType.STRING, [spelled, "b", "c"])}
    types = array(ValueType.INT32, [6, 1, 1])
    with pytest.raises(InputError, match="is not spelled like '<0x0A>'"):
        load_tokenizer(metadata("llama", token_type=types, **values))

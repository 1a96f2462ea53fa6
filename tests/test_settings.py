"""Metadata set by hand has the type the file had, or the one that was said."""

import pytest

from quantize_cli.errors import UsageError
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, flag, text, u32
from quantize_cli.model import settings

METADATA = {
    "general.name": text("before"),
    "llama.context_length": u32(256),
    "llama.rope.freq_base": f32(10000),
    "tokenizer.ggml.add_bos_token": flag(True),
    "tokenizer.ggml.tokens": array(ValueType.STRING, ["a"]),
}


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("general.name=a=b: c", "general.name", text("a=b: c")),
        ("general.name=", "general.name", text("")),
        ("llama.context_length=4096", "llama.context_length", u32(4096)),
        ("llama.rope.freq_base=1e6", "llama.rope.freq_base", f32(1e6)),
        ("tokenizer.ggml.add_bos_token=False", "tokenizer.ggml.add_bos_token", flag(False)),
        ("llama.context_length=u64:1", "llama.context_length", Value(ValueType.UINT64, 1)),
        ("new.key=str:u32:5", "new.key", text("u32:5")),
        ("new.key=i16:-5", "new.key", Value(ValueType.INT16, -5)),
    ],
)
def test_a_setting_becomes_a_value(setting: str, key: str, value: Value) -> None:
    assert settings.apply_settings(METADATA, [setting]) == {**METADATA, key: value}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("general.name", "not of the form KEY=VALUE"),
        ("=x", "not of the form KEY=VALUE"),
        ("new.key=5", "'new.key' is a new key"),
        ("llama.context_length=many", "'many' is no uint32"),
        ("tokenizer.ggml.add_bos_token=yes", "'yes' is no bool"),
        ("tokenizer.ggml.tokens=b", "is an array"),
        ("general.file_type=2", "follows from the types chosen"),
        ("quantize.recipe=str:f32", "not for hands to set"),
        ("quantize.evaluation.kld_mean=f32:0", "not for hands to set"),
        ("quantize.imatrix.file=str:a", "not for hands to set"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        settings.apply_settings(METADATA, [setting])


def test_later_settings_win_and_nothing_given_is_changed() -> None:
    before = dict(METADATA)
    assert settings.apply_settings(METADATA, ["general.name=x", "general.name=y"])["general.name"] == text("y")
    assert before == METADATA

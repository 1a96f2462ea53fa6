"""JSON lines are read once, and what is wrong with one is said with its file and number."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.errors import InputError
from quantize_cli.train.data import json_lines
from quantize_cli.train.data.json_lines import Record, read_records

SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "messages", "role", "content", "x"]), inner, max_size=3)
    ),
)
"""Any JSON, with the keys that are looked for."""


def written(folder: Path, *lines: bytes) -> Path:
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def line(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_texts_and_conversations_come_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + line({"text": "a", "id": 7}), b"", b"  \r", line({"messages": SAID}))
    assert list(read_records(path)) == [
        Record(f"{path}: line 1", "a", ()),
        Record(f"{path}: line 4", None, tuple(SAID)),
    ]


def test_keys_without_a_value_are_passed_over(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "", "name": None}, *SAID]
    (record,) = read_records(written(tmp_path, line({"messages": said})))
    assert record.messages[0] == {"role": "system", "content": ""}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "is not json: .* at column 2"),
        (b"plain words", "is not json: expecting value at column 1"),
        (b'{"text": "a"} {"text": "b"}', "is not json: extra data at column 15"),
        (b'{"text": "\xff"}', "byte 10 of 13 is not utf-8"),
        ('{"text": "a"}'.encode("utf-16"), "is not utf-8"),
        (b'{"text": ' + b"9" * 5000 + b"}", "holds a number that is too long"),
        (b"[" * 200_000, "is nested too deeply"),
        (line(["text"]), "is a list, not an object"),
        (line("text"), "is a string, not an object"),
        (line(None), "is null, not an object"),
        (line(True), "is true, not an object"),
        (line({"prompt": "a"}), "has neither 'text' nor 'messages'"),
        (line({"text": "a", "messages": SAID}), "has both 'text' and 'messages'"),
        (line({"text": 3}), "'text' is a number, not a string"),
        (line({"text": None}), "'text' is null, not a string"),
        (line({"text": ""}), "'text' is empty"),
        (line({"messages": {}}), "'messages' is an object, not a list"),
        (line({"messages": []}), "'messages' is empty"),
        (line({"messages": [SAID]}), "message 1 is a list, not an object"),
        (line({"messages": [*SAID, {"role": "user"}]}), "message 3 has no 'content'"),
        (line({"messages": [{"content": "a"}]}), "message 1 has no 'role'"),
        (line({"messages": [{"role": 1, "content": "a"}]}), "message 1: 'role' is a number, not a string"),
        (
            line({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "message 1: 'content' is a list",
        ),
        (line({"messages": [{"role": "assistant", "content": ""}]}), "message 1: 'content' is empty"),
        (line({"messages": [{**SAID[0], "weight": 0}]}), "message 1 has 'weight' beside its role and content"),
        (line({"messages": [{**SAID[0], "\x1b[2J": 0}]}), r"message 1 has '\\x1b\[2J' beside"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(bad: bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, line({"text": "fine"}), bad)
    with pytest.raises(InputError, match=message) as caught:
        list(read_records(path))
    assert f"{caught.value}".startswith(f"{path}: line 2")
    assert "\n" not in f"{caught.value}"
    assert caught.value.hint


def test_a_huge_line_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_LONGEST", 100)
    path = written(tmp_path, line({"text": "a" * 80}), line({"text": "a" * 1000}))
    with pytest.raises(InputError, match="line 2 is longer than 100 bytes"):
        list(read_records(path))


def outcome(path: Path) -> tuple[str, list[Record]]:
    """What an error says, or the records."""
    try:
        return "", list(read_records(path))
    except InputError as error:
        return f"{error}", []


@given(st.binary() | VALUES.map(line), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_records_or_say_why_not(noise: bytes, first: bool) -> None:
    fine = line({"messages": SAID})
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), *((noise, fine) if first else (fine, noise)))
        refused, records = outcome(path)
        assert refused.startswith(f"{path}: line ") if refused else tuple(SAID) in [r.messages for r in records]


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_what_cannot_be_opened_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the lines: "):
        list(read_records(tmp_path / name))

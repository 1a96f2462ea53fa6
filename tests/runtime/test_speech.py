"""Text is said as soon as it is certain, and never any of a stop string."""

from collections.abc import Sequence

import pytest

from quantize_cli.runtime.detokenizer import StreamingDetokenizer


def say(tokens: Sequence[int]) -> bytes:
    """Every token is a byte."""
    return bytes(tokens)


def pieces(text: str, stops: Sequence[str] = (), drop: str = "") -> tuple[list[str], StreamingDetokenizer]:
    """What is said at each byte, and at the end."""
    speech = StreamingDetokenizer(say, stops, drop)
    said = []
    for token in text.encode():
        said.append(speech.take(token))
        if speech.stopped:
            break
    return [*said, speech.finish()], speech


def test_a_character_is_said_when_it_is_whole() -> None:
    assert pieces("aé")[0] == ["a", "", "é", ""]


def test_half_a_character_at_the_end_is_replaced() -> None:
    speech = StreamingDetokenizer(say)
    assert [speech.take(0xC3), speech.finish()] == ["", "\ufffd"]
    assert speech.text == "\ufffd"


def test_what_may_begin_a_stop_string_is_held_back_until_it_does_not() -> None:
    said, speech = pieces("a<b<|c", ["<|end"])
    assert said == ["a", "", "<b", "", "", "<|c", ""]
    assert not speech.stopped


@pytest.mark.parametrize(
    ("text", "stops", "kept"),
    [
        ("one.two", ["."], "one"),
        ("one\nUser: two", ["\nUser:"], "one"),
        ("ababac!", ["abac"], "ab"),
        ("xyz", ["yz", "xyz"], ""),
        ("done", ["done"], ""),
        ("a é b", ["é"], "a "),
        ("open <|en", ["<|end|>"], "open <|en"),
        ("text", [""], "text"),
    ],
)
def test_the_text_ends_before_the_first_stop_string(text: str, stops: list[str], kept: str) -> None:
    said, speech = pieces(text, stops)
    assert ("".join(said), speech.text) == (kept, kept)
    assert speech.stopped == (kept != text)


def test_the_first_space_can_be_dropped_and_only_that() -> None:
    assert "".join(pieces("  a b", drop=" ")[0]) == " a b"
    assert "".join(pieces("a b", drop=" ")[0]) == "a b"


def test_an_ending_is_named() -> None:
    assert pieces("a.", ["."])[1].ending(full=True) == "stop"
    assert pieces("a", ["."])[1].ending(full=True) == "length"
    assert pieces("a", ["."])[1].ending(full=False) == "end"

"""A text becomes the chunks llama-perplexity would cut it into."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation.corpus import Reading, read_chunks, read_text


@dataclass(frozen=True)
class Letters:
    """One token per character: its code."""

    adds_bos: bool = True
    adds_eos: bool = False
    bos_id: int | None = 1
    special_tokens: tuple[tuple[str, int], ...] = (("<|end|>", 2), ("<mine>", 3))
    control_ids: frozenset[int] = frozenset({2})

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        if parse_special:
            text = text.replace("<|end|>", "\2")
        first = [self.bos_id] if add_special and self.adds_bos and self.bos_id is not None else []
        return first + [ord(character) for character in text]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    return path


def test_one_newline_at_the_end_is_dropped_and_no_other_character(tmp_path: Path) -> None:
    assert read_text(written(tmp_path, b"\xef\xbb\xbf a\r\n\xc3\xa9\r\n\n")) == "\ufeff a\r\n\u00e9\r\n"


def test_chunks_are_whole_and_begin_with_the_first_token(tmp_path: Path) -> None:
    chunks = read_chunks(written(tmp_path, b"abcdefghijklmnopqr"), Letters(), context=6)
    expected = [[1, *b"abcde"], [1, *b"ghijk"], [1, *b"mnopq"]]
    assert np.array_equal(chunks, expected)


def test_control_tokens_are_letters_unless_wanted_and_said(tmp_path: Path) -> None:
    path, said = written(tmp_path, b"ab<|end|>cd<mine>" * 5), list[str]()
    letters = read_chunks(path, Letters(), 6, 2, Reading(notice=said.append))
    assert np.array_equal(letters, [[1, *b"ab<|e"], [1, *b"d|>cd"]])
    assert said == [f"{path}: holds '<|end|>' 5 times, read as letters; --special reads them as tokens"]
    tokens = read_chunks(path, Letters(), 6, 2, Reading(special=True, notice=said.append))
    assert np.array_equal(tokens, [[1, *b"ab\2cd"], [1, *b"mine>"]])
    assert len(said) == 1


def test_a_vocabulary_without_a_first_token_keeps_every_token(tmp_path: Path) -> None:
    chunks = read_chunks(written(tmp_path, b"abcdefghijklmnopqr"), Letters(adds_bos=False), context=6)
    assert np.array_equal(chunks, [[*b"abcdef"], [*b"ghijkl"], [*b"mnopqr"]])


def test_a_limit_keeps_the_first_chunks(tmp_path: Path) -> None:
    assert read_chunks(written(tmp_path, b"a" * 100), Letters(), context=10, limit=3).shape == (3, 10)
    assert read_chunks(written(tmp_path, b"a" * 100), Letters(), context=10, limit=99).shape == (10, 10)


@pytest.mark.parametrize("content", [b"", b"\n", b"a" * 18])
def test_a_text_shorter_than_two_chunks_names_both_lengths(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    count = len(content.strip()) + 1
    with pytest.raises(InputError, match=f"text.txt: the text is {count} tokens long, 20 are needed") as caught:
        read_chunks(path, Letters(), context=10, limit=1)
    assert caught.value.hint == "use a longer text or a shorter context"


def test_bytes_that_are_no_utf8_are_located(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="byte 3 of 5 is not utf-8 text"):
        read_text(written(tmp_path, b"abc\xff\xfe"))


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt: cannot read the text: no such file"):
        read_text(tmp_path / "absent.txt")


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"a" * 100)
    with pytest.raises(UsageError, match="a context of 4 tokens is too short to score, at least 5"):
        read_chunks(path, Letters(), context=4)
    with pytest.raises(UsageError, match="cannot measure 0 chunks"):
        read_chunks(path, Letters(), limit=0)
    with pytest.raises(InputError, match="ends every text with a token"):
        read_chunks(path, Letters(adds_eos=True))

"""The start of a long text has the tokens that it has in the whole text."""

from dataclasses import replace
from pathlib import Path

import pytest

from quantize_cli.evaluation.first_tokens import start_of
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import Tokenizer, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "examples" / "sample.txt").read_text()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(open_model(ROOT / "examples" / "tiny-llama").metadata)


@pytest.mark.parametrize("tokens", [1, 30, 200])
def test_the_first_tokens_are_those_of_the_whole(tokens: int, tokenizer: Tokenizer) -> None:
    start, found = start_of(TEXT, tokens, tokenizer)
    assert len(start) < len(TEXT) / 2
    assert len(found) >= tokens
    assert found == tokenizer.encode(TEXT)[: len(found)]
    assert TEXT.startswith(start)


def test_more_is_read_where_letters_are_few_tokens(tokenizer: Tokenizer) -> None:
    text = (" " * 200).join("abc def " * 20 for _ in range(60))
    _, found = start_of(text, 100, tokenizer)
    assert len(found) >= 100
    assert found == tokenizer.encode(text)[: len(found)]


@pytest.mark.parametrize("text", [TEXT[:100], "a" * 9000, "1 2 " * 3000], ids=["short", "without a space", "numbers"])
def test_a_text_that_cannot_be_cut_is_read_whole(text: str, tokenizer: Tokenizer) -> None:
    assert start_of(text, 30, tokenizer) == (text, tokenizer.encode(text))


def test_a_vocabulary_with_tokens_of_several_words_reads_the_whole_text(tokenizer: Tokenizer) -> None:
    with_phrase = replace(tokenizer, pieces=(*tokenizer.pieces, b"of the"))
    assert start_of(TEXT, 10, with_phrase) == (TEXT, tokenizer.encode(TEXT))

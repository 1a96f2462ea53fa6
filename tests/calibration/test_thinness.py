"""A text that says little is told by numbers, and one of a few pages is not."""

import numpy as np
import pytest

from quantize_cli.calibration.statistics.coverage import coverage_warnings
from quantize_cli.evaluation.corpus import read_chunks
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests.cli.console import EXAMPLES, MODEL

COLUMNS = {"blk.0.attn_q.weight": 256, "blk.0.ffn_down.weight": 512}
RANDOM = np.random.default_rng(0)
RICH = RANDOM.integers(0, 1000, (8, 256))


def sentence(tokens: int, chunks: int = 8) -> np.ndarray:
    """The same tokens again and again, cut anywhere."""
    return np.resize(RANDOM.permutation(1000)[:tokens], (chunks, 256))


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        (RICH, []),
        (RICH[:1], ["256 tokens are read, fewer than the 512 columns of blk.0.ffn_down.weight"]),
        (RICH % 12, ["the text has 12 distinct tokens of a vocabulary of 1000"]),
        (sentence(200), ["the text says the same again: 89.9% of its runs of 8 tokens"]),
        (sentence(10), ["the text has 10 distinct tokens", "the text says the same again: 99.5%"]),
        (sentence(1), ["the text has 1 distinct tokens", "the text says the same again: 99.9%"]),
        (RICH[:, :5], ["40 tokens are read"]),
    ],
)
def test_what_is_thin_about_a_text_is_said_by_numbers(chunks: np.ndarray, says: list[str]) -> None:
    found = coverage_warnings(chunks, COLUMNS, 1000)
    assert [line.startswith(said) for line, said in zip(found, says, strict=True)] == [True] * len(says), found


def test_letters_are_enough_for_a_vocabulary_of_letters() -> None:
    assert coverage_warnings(RICH % 30, COLUMNS, 100) == ()


def test_a_few_pages_are_no_reason_to_doubt() -> None:
    chunks = read_chunks(EXAMPLES / "sample.txt", load_tokenizer(open_model(MODEL).metadata), 256)
    assert coverage_warnings(chunks, COLUMNS, 1024) == ()

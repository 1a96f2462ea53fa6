"""What a step sees is a function of seed and number, and what is held out no step sees."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.data.held_out import held_out

ROOT = Path(__file__).resolve().parents[2]


def examples(chunks: int) -> Examples:
    """Chunk i is all i."""
    tokens = np.repeat(np.arange(chunks, dtype=np.int32)[:, None], 3, axis=1)
    counted = tokens % 2 == 0
    return Examples(tokens, counted, tokens[:1] + 100, counted[:1])


def seen(text: Examples, steps: range, size: int, seed: int = 0) -> list[int]:
    return [int(chunk[0]) for step in steps for chunk in text.batch(step, seed, size).tokens]


@pytest.mark.parametrize(("chunks", "size"), [(10, 4), (3, 5), (1, 2), (8, 8)])
def test_no_chunk_comes_twice_before_all_came(chunks: int, size: int) -> None:
    order = seen(examples(chunks), range(3 * chunks), size)
    for start in range(0, len(order) - chunks + 1, chunks):
        assert sorted(order[start : start + chunks]) == list(range(chunks))


def test_epochs_and_seeds_differ() -> None:
    text = examples(50)
    first, second, other = (
        seen(text, steps, 50, seed) for steps, seed in ((range(1), 0), (range(1, 2), 0), (range(1), 1))
    )
    assert first != second
    assert first != other


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees() -> None:
    """In any order of steps, and in another process."""
    expected = seen(examples(7), range(9), 3, seed=5)
    assert seen(examples(7), range(4, 9), 3, seed=5) == expected[12:]
    program = "from tests.train.test_examples import *; print(seen(examples(7), range(9), 3, seed=5))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert other.stdout.strip() == str(expected)


def test_a_batch_knows_what_counts() -> None:
    tokens, counted = examples(6).batch(2, 0, 4)
    assert tokens.dtype == np.int32
    assert np.array_equal(counted, tokens % 2 == 0)


def test_the_digest_is_of_tokens_mask_and_share() -> None:
    text = examples(6)
    changed = [
        Examples(text.tokens + np.int32(1), text.counted, text.held_tokens, text.held_counted),
        Examples(text.tokens, ~text.counted, text.held_tokens, text.held_counted),
        Examples(text.tokens, text.counted, text.held_tokens + np.int32(1), text.held_counted),
        Examples(text.tokens[:5], text.counted[:5], text.tokens[5:], text.counted[5:]),
        Examples(text.tokens.reshape(3, 6), text.counted.reshape(3, 6), text.held_tokens, text.held_counted),
    ]
    digests = {example.digest for example in [text, *changed]}
    assert len(digests) == 6
    assert text.digest == examples(6).digest
    wide = Examples(text.tokens.astype(np.int64), text.counted, text.held_tokens, text.held_counted)
    assert wide.digest == text.digest


@pytest.mark.parametrize(("chunks", "share", "expected"), [(100, 0.03, 3), (100, 0.5, 50), (10, 0.03, 1), (3, 0.6, 2)])
def test_the_share_is_spread_evenly(chunks: int, share: float, expected: int) -> None:
    held = np.flatnonzero(held_out(chunks, share, seed=0))
    assert np.array_equal(held * expected // chunks, np.arange(expected))


def test_the_seed_decides_what_is_held_out() -> None:
    assert np.array_equal(held_out(500, 0.1, 3), held_out(500, 0.1, 3))
    assert not np.array_equal(held_out(500, 0.1, 3), held_out(500, 0.1, 4))


@pytest.mark.parametrize(("chunks", "share"), [(1, 0.03), (2, 0.9), (3, 0.99)])
def test_a_share_that_leaves_nothing_is_refused(chunks: int, share: float) -> None:
    with pytest.raises(InputError, match=rf"the data fill {chunks} chunks?, of which {chunks} would be held out"):
        held_out(chunks, share, 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_share_outside_of_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="must lie between 0 and 1"):
        held_out(10, share, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="the seed -1 is negative"):
        held_out(10, 0.1, -1)

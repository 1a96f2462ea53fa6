"""Moments are trusted as far as tokens that were left out of them bear them out."""

import numpy as np
import pytest

from quantize_cli.calibration.rounding.feedback import factor
from quantize_cli.calibration.statistics.inputs import of_moments
from quantize_cli.calibration.statistics.moments import Moments
from quantize_cli.calibration.statistics.shrinkage import SHARES, Dampings, LeftOut, best_dampings
from quantize_cli.jit.matrices import solve_triangle
from tests.jit.matrices.naive import bfloat16

COLUMNS = 48


def tokens(count: int, rank: int, noise: float, seed: int = 0) -> np.ndarray:
    """Activations (count, COLUMNS) f32 that few directions explain, but for noise."""
    shared = np.random.default_rng(7).normal(size=(rank, COLUMNS))
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, rank)) @ shared + noise * random.normal(size=(count, COLUMNS))
    return x.astype(np.float32)


def losses(x: np.ndarray, others: np.ndarray) -> list[float]:
    """What each share loses on `others`, by the definition."""
    moments = x.T.astype(float) @ x
    moments /= moments.diagonal().mean()
    found = []
    for share in SHARES:
        carry, _ = factor(moments + share * np.eye(COLUMNS))
        found.append(float(np.square(np.linalg.solve(carry.astype(float), others.T)).sum()))
    return found


@pytest.mark.parametrize(("count", "rank", "noise"), [(60, 40, 1.0), (400, 4, 0.02), (400, 40, 0.3)])
def test_the_largest_share_near_the_least_loss_is_chosen(count: int, rank: int, noise: float) -> None:
    x, others = tokens(count, rank, noise), tokens(200, rank, noise, seed=1)
    expected = losses(x, others)
    chosen = best_dampings(LeftOut(x.T.astype(float) @ x, others), threads=1).rounding
    assert chosen == max(s for s, loss in zip(SHARES, expected, strict=True) if loss <= 1.05 * min(expected))


def test_few_noisy_tokens_are_trusted_less_than_many_alike() -> None:
    noisy, alike = tokens(60, 40, 1.0), tokens(4000, 4, 0.001)
    others = [tokens(200, 40, 1.0, seed=1), tokens(200, 4, 0.001, seed=1)]
    shares = [
        best_dampings(LeftOut(x.T.astype(float) @ x, y), 1).rounding
        for x, y in zip((noisy, alike), others, strict=True)
    ]
    assert shares[0] > shares[1]


def test_without_tokens_held_back_a_share_in_the_middle_is_taken() -> None:
    nothing = LeftOut(np.eye(COLUMNS), np.empty((0, COLUMNS), np.float32))
    assert best_dampings(nothing, 1) == Dampings(0.1, 0.1)


def test_tokens_held_back_are_spread_over_all_and_can_be_taken_out_again() -> None:
    x, moments = tokens(100, 40, 1.0), Moments(COLUMNS)
    for part in np.array_split(x, 3):
        moments.add(part)
    left_out = moments.left_out()
    assert np.array_equal(left_out.tokens, x[::7])
    others = bfloat16(np.delete(x, np.s_[::7], axis=0))
    assert np.allclose(left_out.moments, others.T @ others, atol=1e-3)
    assert of_moments(moments).dampings.rounding in SHARES


def test_a_token_of_great_length_does_not_decide_alone() -> None:
    x = tokens(200, 40, 1.0)
    x[3] *= 1e4
    moments = Moments(COLUMNS)
    moments.add(x)
    squares = np.square(x.astype(float)).sum(axis=1)
    shrunk = x.astype(float)
    shrunk[3] *= np.sqrt(1000 * np.median(squares) / squares[3])
    assert np.allclose(moments.second, shrunk.T @ shrunk, rtol=1e-3, atol=1e-2 * np.abs(moments.second).max())


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_a_triangle_is_solved(size: int) -> None:
    random = np.random.default_rng(size)
    lower = np.tril(random.normal(size=(size, size))) + 4 * np.eye(size)
    right = random.normal(size=(size, 5))
    assert np.allclose(lower @ solve_triangle(lower, right), right, atol=1e-8)


@pytest.mark.parametrize(("count", "noise"), [(80, 1.0), (2000, 0.05)])
def test_corrections_are_trusted_as_far_as_they_mend_other_tokens(count: int, noise: float) -> None:
    mapping = np.eye(COLUMNS) + 0.1 * np.random.default_rng(3).normal(size=(COLUMNS, COLUMNS))

    def observed(seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = tokens(count, 12, 0.1, seed)
        chance = noise * np.random.default_rng(seed + 10).normal(size=x.shape)
        return x, (x @ mapping + chance - x).astype(np.float32)

    (x, missing), (y, missing_of_others) = observed(1), observed(2)
    moments, shift = x.T.astype(float) @ x, missing.T.astype(float) @ x
    chosen = best_dampings(LeftOut(moments, y, shift, missing_of_others), 1).correction
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (64, COLUMNS))
    expected = []
    for share in SHARES:
        change = signs @ shift @ np.linalg.inv(moments + share * moments.diagonal().mean() * np.eye(COLUMNS))
        expected.append(np.square(signs @ missing_of_others.T - change @ y.T).sum())
    assert chosen == max(s for s, loss in zip(SHARES, expected, strict=True) if loss <= 1.05 * min(expected))

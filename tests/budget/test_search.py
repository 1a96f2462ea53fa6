"""The search finds the best choice there is within the budget, and never goes beyond it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize_cli.budget import search as search_module
from quantize_cli.budget.options import TypeChoice, pareto_front
from quantize_cli.budget.search import OverBudgetError, search
from quantize_cli.errors import ExitCode
from quantize_cli.formats.ggml import GgmlType

BITS = (2.5625, 2.625, 3.0625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5)

Choice = tuple[TypeChoice, ...]


def nbytes(choice: Choice) -> int:
    return sum(option.nbytes for option in choice)


def loss(choice: Choice) -> float:
    return sum(option.loss for option in choice)


@st.composite
def options(draw: st.DrawFn) -> list[Choice]:
    of_tensor = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=4)
    drawn = draw(st.lists(of_tensor, max_size=4))
    return [pareto_front([TypeChoice(GgmlType.Q4_K, 32 * size, cost / 8) for size, cost in tensor]) for tensor in drawn]


def model_like(layers: int, seed: int = 0) -> list[Choice]:
    """Tensors of a transformer whose losses fall by about four with each bit."""
    random = np.random.default_rng(seed)
    weights = [
        size for _ in range(layers) for size in (1 << 22, 1 << 19, 1 << 19, 1 << 22, 11 << 20, 11 << 20, 11 << 20)
    ]
    return [
        pareto_front([
            TypeChoice(GgmlType.Q4_K, int(size * bits / 8), float(scale * 4**-bits * random.uniform(0.9, 1.1)))
            for bits in BITS
        ])
        for size, scale in zip(weights, random.lognormal(0, 1, len(weights)), strict=True)
    ]  # fmt: skip


@given(options(), st.integers(0, 1300))
@settings(deadline=None, max_examples=300)
def test_it_is_the_best_of_all_choices_that_fit(found: list[Choice], room: int) -> None:
    fitting = [choice for choice in product(*found) if nbytes(choice) <= room]
    if not fitting:
        with pytest.raises(OverBudgetError):
            search(found, room)
        return
    chosen = search(found, room)
    assert nbytes(chosen) <= room
    assert loss(chosen) == pytest.approx(min(map(loss, fitting)))


def test_more_bytes_never_lose_more() -> None:
    found = model_like(3)
    least, most = sum(of[0].nbytes for of in found), sum(of[-1].nbytes for of in found)
    losses = [loss(search(found, int(room))) for room in np.linspace(least, most + 1000, 60)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(sum(of[0].loss for of in found))
    assert losses[-1] == pytest.approx(sum(of[-1].loss for of in found))


@pytest.mark.parametrize("layers", [4, 22, 60])
def test_a_budget_is_used_to_half_a_per_cent(layers: int) -> None:
    found = model_like(layers)
    least, most = sum(of[0].nbytes for of in found), sum(of[-1].nbytes for of in found)
    for room in np.linspace(least * 1.05, most * 0.95, 5).astype(int):
        assert 0.995 * room <= nbytes(search(found, int(room))) <= room


def test_states_beyond_what_memory_holds_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    found = model_like(3)
    room = sum(of[4].nbytes for of in found) + 12345
    best = loss(search(found, room))
    monkeypatch.setattr(search_module, "_MOST_STATES", 8)
    chosen = search(found, room)
    assert nbytes(chosen) <= room
    assert best <= loss(chosen) <= 1.05 * best


def test_what_is_impossible_is_answered_with_no() -> None:
    with pytest.raises(OverBudgetError, match="31 bytes hold no choice, the smallest has 32") as error:
        search([(TypeChoice(GgmlType.Q4_0, 32, 1.0),)], 31)
    assert error.value.exit_code is ExitCode.ANSWER_IS_NO


def test_an_option_that_another_beats_is_none() -> None:
    good, large, worse = (TypeChoice(GgmlType.Q4_K, *pair) for pair in ((32, 0.5), (64, 0.5), (48, 0.7)))
    assert pareto_front([large, worse, good]) == (good,)

"""A budget, as options state it, becomes bytes of a file, and these a recipe that can be saved."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.budget.memory import memory_besides_file
from quantize_cli.budget.options import type_choices
from quantize_cli.budget.rules import to_toml
from quantize_cli.budget.search import OverBudgetError
from quantize_cli.errors import ExitCode, UsageError
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.budget import Budget, measure_sensitivities, search_recipe
from quantize_cli.progress import Report
from tests.cli.console import MODEL
from tests.runtime import synthetic


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(synthetic.small(tmp_path_factory.mktemp("budget")))


def chunks() -> np.ndarray:
    return synthetic.tokens(64).reshape(2, 32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4.5GB", 4_500_000_000), ("500 MB", 500_000_000), ("8GiB", 8 << 30), ("123456", 123456), ("2k", 2000)],
)
def test_sizes_are_read_as_people_write_them(text: str, expected: int, model: Model) -> None:
    assert Budget(size=text).nbytes(model, type_choices(model, {})) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1e9", "4,5GB", "1ZB", "nan", "3IB", "９GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    for option in ("size", "fits"):
        with pytest.raises(UsageError, match="not a size"):
            Budget(**{option: text})


def test_exactly_one_budget_is_given() -> None:
    with pytest.raises(UsageError, match="neither"):
        Budget()
    with pytest.raises(UsageError, match="--size and --fits"):
        Budget(size="1GB", fits="1GB")
    for bits in (0, -1, float("nan"), 33):
        with pytest.raises(UsageError, match="--bpw"):
            Budget(bits_per_weight=bits)


def test_bits_per_weight_are_those_plan_counts() -> None:
    model = open_model(MODEL)
    options = type_choices(model, {})  # of f16 throughout
    made = plan.make(model, recipe.named("f16"))
    assert abs(Budget(bits_per_weight=made.bits_per_weight).nbytes(model, options) - made.nbytes) <= 1


def test_memory_has_room_for_the_cache_besides_the_file(model: Model) -> None:
    budget, told = Budget(fits="100MB", context=64), list[str]()
    report = Report(note=told.append)
    assert budget.nbytes(model, type_choices(model, {}), report) == 100_000_000 - memory_besides_file(model, 64).nbytes
    assert "f16 cache of 64 tokens" in told[0]
    with pytest.raises(OverBudgetError, match="leave none") as error:
        Budget(fits="10MB").nbytes(model, type_choices(model, {}))
    assert error.value.exit_code is ExitCode.ANSWER_IS_NO


def test_the_recipe_found_is_the_one_saved_and_keeps_the_budget(model: Model, tmp_path: Path) -> None:
    path, told = tmp_path / "mine.toml", list[str]()
    sensitivities = measure_sensitivities(model, chunks())
    options = type_choices(model, sensitivities.losses)
    found = search_recipe(model, Budget(bits_per_weight=7), options, Report(note=told.append))
    path.write_text(to_toml(found))
    read = recipe.from_file(path)
    made = plan.make(model, read, sensitivities.importance)
    assert made.types == plan.make(model, found, sensitivities.importance).types
    assert 6.5 < made.bits_per_weight <= 7
    said = "\n".join(told)
    assert f"{made.nbytes} of " in said
    assert "predicted KL divergence" in said
    assert "more would give" in said


def test_a_budget_that_cannot_be_kept_names_the_smallest_file(model: Model) -> None:
    with pytest.raises(OverBudgetError, match="1000 bytes are too few, the smallest file that can be made has"):
        search_recipe(model, Budget(size="1kB"), type_choices(model, {}))

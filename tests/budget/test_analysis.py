"""What a measurement says at a glance is what it says."""

import numpy as np
import pytest

from quantize_cli.budget import analysis
from quantize_cli.budget.inputs import TensorInputs
from quantize_cli.budget.sensitivity import Effort, Sensitivities, Sensitivity, measure
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.report import analysis_page
from quantize_cli.report.pages import Column
from quantize_cli.runtime.transformer import from_model
from tests.runtime import synthetic

TYPES = (GgmlType.Q4_0, GgmlType.Q8_0)


def sensitivity(name: str, seen: TensorInputs | None = None, loss: float = 0.5) -> Sensitivity:
    losses = {TYPES[0]: loss, TYPES[1]: loss / 8}
    return Sensitivity(name, (4, 32), losses, frozenset(TYPES[:1]), losses, seen)


def seen(counts: list[int], squares: np.ndarray) -> TensorInputs:
    return TensorInputs(np.array(counts), squares)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Sensitivities]:
    model = open_model(synthetic.small(tmp_path_factory.mktemp("analysis"), experts=4))
    tokens = synthetic.tokens(64).reshape(2, 32)
    return model, measure(model, tokens, TYPES, effort=Effort(TYPES[:1], transformer=from_model(model, threads=1)))


def test_a_channel_far_above_the_median_is_an_outlier() -> None:
    squares = np.full((1, 32), 10.0)
    squares[0, 3], squares[0, 7] = 10 * 7.0**2, 10 * 5.0**2
    found = analysis.outliers(sensitivity("a.weight", seen([10], squares)))
    assert found is not None
    assert (found.count, found.largest) == (1, pytest.approx(7))
    assert analysis.outliers(sensitivity("a.weight")) is None
    assert analysis.outliers(sensitivity("a.weight", seen([0], squares))) is None
    assert analysis.outliers(sensitivity("a.weight", seen([1], np.zeros((1, 32))))) == analysis.Outliers(0, 0.0)


def test_experts_have_shares_of_what_their_stack_met(measured: tuple[Model, Sensitivities]) -> None:
    stacks = [tensor for tensor in measured[1].tensors if "exps" in tensor.name]
    assert len(stacks) == 6
    for tensor in stacks:
        shares = analysis.experts(tensor)
        assert shares is not None
        assert (shares.shape, shares.sum()) == ((4,), pytest.approx(1))
        assert tensor.inputs is not None
        assert tensor.inputs.counts.sum() == 2 * 64  # each token meets two
    assert analysis.experts(sensitivity("a.weight")) is None


def test_the_frontier_lies_below_one_type_for_all(measured: tuple[Model, Sensitivities]) -> None:
    model, found = measured
    frontier = analysis.frontier(model, found)
    assert list(frontier.uniform) == list(TYPES)
    ends = [frontier.best[0], frontier.best[-1]]
    for end, uniform in zip(ends, frontier.uniform.values(), strict=True):
        assert (end.nbytes, end.loss) == (uniform.nbytes, pytest.approx(uniform.loss))
    assert [point.loss for point in frontier.at.values()] == sorted(
        (point.loss for point in frontier.at.values()), reverse=True
    )


def test_a_page_of_a_mixture_shows_its_experts(measured: tuple[Model, Sensitivities]) -> None:
    model, found = measured
    drawn = analysis_page.document("t", found, analysis.frontier(model, found), [Column("tensor", ["x"])], ["text"])
    assert drawn.count("<svg") == 5
    assert "share of tokens" in drawn


def test_names_from_a_file_stay_text() -> None:
    found = Sensitivities((sensitivity("<script>.weight"), sensitivity("blk.0.<b>.weight", loss=0.0)), 1, 1)
    points = analysis.Frontier([analysis.Point(1, 0.5), analysis.Point(2, 0.1)], {}, {})
    drawn = analysis_page.document("<i>", found, points, [Column("tensor", ["<u>"])], ["<s>"])
    assert [tag for tag in ("<script>", "<b>.", "<i>", "<u>", "<s>") if tag in drawn] == []

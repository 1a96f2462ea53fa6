"""A phase is trained by its schedule, keeps its best state, and is refused when it diverges."""

from math import inf, nan

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from quantize_cli.errors import InputError  # noqa: E402
from quantize_cli.train.runner.loop import PhaseTrainer, from_table  # noqa: E402
from quantize_cli.train.runner.phase import Phase  # noqa: E402
from quantize_cli.train.runner.schedule import factor  # noqa: E402
from quantize_cli.train.weights.trained_matrix import ParameterGroup, Role  # noqa: E402

CPU = torch.device("cpu")
STEPS = 40


class Valley:
    """The square of the distance of two groups of parameters from a point that moves a little each step."""

    def __init__(self) -> None:
        self.weights, self.scales = nn.Parameter(torch.full((3,), 2.0)), nn.Parameter(torch.full((2,), -1.0))

    def loss(self, step: int) -> Tensor:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(step)) / 10
        return (self.weights - noise).square().sum() + self.scales.square().sum()

    def watched(self) -> float:
        return float(self.weights.detach().square().sum())

    def phase(self, **changes: object) -> Phase:
        groups = (ParameterGroup((self.weights,), Role.WEIGHTS, 0.5), ParameterGroup((self.scales,), Role.SCALES, 0.1))
        rates = {Role.WEIGHTS: 0.4, Role.SCALES: 0.2}
        values = {"steps": STEPS, "loss": self.loss, "watched": self.watched, **changes}
        return Phase("valley", groups=groups, rates=rates, **values)  # type: ignore[arg-type]


def trained(trainer: PhaseTrainer, until: int = STEPS) -> PhaseTrainer:
    while not trainer.is_done and trainer.progress.step < until:
        trainer.step()
    return trainer


def test_rates_rise_then_fall_to_almost_zero() -> None:
    factors = [factor(step, 100) for step in range(100)]
    assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert 0 < factors[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_phases_have_rates(steps: int) -> None:
    assert all(0 < factor(step, steps) <= 1 for step in range(steps))


def test_a_rate_is_that_of_the_role_times_the_unit() -> None:
    valley = Valley()
    trainer = trained(PhaseTrainer(valley.phase(steps=1), CPU, False))
    # The first step of Adam is the rate itself, whatever the gradient.
    moved = [2.0 - float(valley.weights.detach()[0]), float(valley.scales.detach()[0]) + 1.0]
    assert trainer.progress.step == 1
    assert moved == pytest.approx([0.4 * 0.5, 0.2 * 0.1], rel=1e-4)


def test_the_best_look_is_what_is_kept() -> None:
    valley, looks = Valley(), iter([5.0, 1.0, 3.0, 2.0])
    states = []

    def watched() -> float:
        states.append(valley.weights.detach().clone())
        return next(looks)

    trainer = trained(PhaseTrainer(valley.phase(steps=3, watched=watched), CPU, False))
    trainer.finish()
    best = trainer.progress.best
    assert best is not None
    assert (best.step, best.loss, [look.step for look in trainer.progress.looks]) == (1, 1.0, [0, 1, 2, 3])
    assert torch.equal(valley.weights, states[1])


def test_patience_ends_a_phase() -> None:
    valley, looks = Valley(), iter([5.0, 1.0, 1.0, 2.0, 0.0])
    trainer = trained(PhaseTrainer(valley.phase(watched=lambda: next(looks), steps=20), CPU, False, patience=2))
    assert [look.loss for look in trainer.progress.looks] == [5.0, 1.0, 1.0, 2.0]


def test_without_a_look_the_last_state_is_kept() -> None:
    valley = Valley()
    trainer = trained(PhaseTrainer(valley.phase(watched=None), CPU, False))
    trainer.finish()
    assert trainer.progress.best is None
    assert float(valley.weights.detach().abs().max()) < 0.5


@pytest.mark.parametrize("value", [nan, inf])
def test_a_loss_that_is_no_number_is_refused(value: float) -> None:
    valley = Valley()
    phase = valley.phase(loss=lambda step: valley.loss(step) * (value if step == 2 else 1))
    with pytest.raises(InputError, match=rf"^valley: the loss is {value} in step 3 of 40$") as caught:
        trained(PhaseTrainer(phase, CPU, False))
    assert caught.value.hint is not None


def test_a_gradient_that_is_no_number_is_refused() -> None:
    valley = Valley()
    phase = valley.phase(loss=lambda step: (valley.weights - valley.weights.detach()).abs().sqrt().sum())
    with pytest.raises(InputError, match=r"^valley: the norm of the gradient is (nan|inf) in step 1 of 40$"):
        trained(PhaseTrainer(phase, CPU, False))


def test_a_look_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"^valley: the loss on held-out text is nan after 0 steps$"):
        trained(PhaseTrainer(Valley().phase(watched=lambda: nan), CPU, False))


@pytest.mark.parametrize("interruption", [1, 7, STEPS])
def test_a_restored_phase_goes_on_bit_for_bit(interruption: int) -> None:
    whole, first, second = Valley(), Valley(), Valley()
    expected = trained(PhaseTrainer(whole.phase(), CPU, False))
    begun = trained(PhaseTrainer(first.phase(), CPU, False), until=interruption)
    resumed = PhaseTrainer(second.phase(), CPU, False)
    tensors = {name: value.clone() for name, value in begun.tensors().items()}
    resumed.restore(tensors, from_table(begun.progress.table()))
    trained(resumed)
    assert resumed.progress.losses == expected.progress.losses
    assert resumed.progress.looks == expected.progress.looks
    for trainer in (expected, resumed):
        trainer.finish()
    assert torch.equal(whole.weights, second.weights)
    assert torch.equal(whole.scales, second.scales)

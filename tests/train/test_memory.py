"""The bound on memory follows from shapes, covers what is used, and is compared with what there is."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from quantize_cli.errors import InputError  # noqa: E402
from quantize_cli.evaluation.memory import peak_of  # noqa: E402
from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.model.source import open_model  # noqa: E402
from quantize_cli.train.runner import memory, prepare  # noqa: E402
from quantize_cli.train.runner.memory import Bound, bound, sizes_of  # noqa: E402
from quantize_cli.train.runner.train import train  # noqa: E402
from tests.cli.console import MODEL  # noqa: E402
from tests.train.runs import small_job, small_model  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


def of(method: str, **options: int | bool) -> Bound:
    """The bound for the example."""
    job = small_job(MODEL, Path("out.gguf"), method=method, **options)
    source = open_model(MODEL)
    types = {tensor.name: GgmlType.Q2_K for tensor in source.tensors if len(tensor.shape) > 1}
    return bound(job, prepare.find(method).outline(job, 4), sizes_of(source, types), chunks=100)


def test_parameters_are_weights_steps_minima_and_scales() -> None:
    source = open_model(MODEL)
    sizes = sizes_of(source, {"blk.0.attn_q.weight": GgmlType.Q2_K})
    weights = 256 * 256
    assert (sizes.trained, sizes.scales) == (weights, 2 * weights // 16 + 2 * weights // 256)
    assert sizes.blocks[0] == (weights, weights + sizes.scales)
    assert sizes.blocks[1] == (0, 0)


def test_moments_are_twice_the_gradients() -> None:
    parts = of("qat").parts
    assert parts["optimizer"] == 2 * parts["gradients"] == 2 * parts["best"]


def test_blocks_take_less_than_the_whole_and_streams() -> None:
    whole, blocks = of("qat").parts, of("efficientqat", batch=1, context=16)
    assert blocks.parts["gradients"] < whole["gradients"]


def test_activations_grow_with_the_batch_and_shrink_with_checkpointing() -> None:
    small, large = of("qat", batch=2).parts, of("qat", batch=4).parts
    assert large["activations"] == 2 * small["activations"]
    assert of("qat", batch=4, gradient_checkpointing=True).parts["activations"] < large["activations"]


def test_rounding_a_start_on_much_text_counts() -> None:
    job, source = small_job(MODEL, Path("out.gguf"), method="qat"), open_model(MODEL)
    sizes, outline = sizes_of(source, {}), prepare.find("qat").outline(job, 4)
    few, many = (bound(job, outline, sizes, 10, rounded_for=tokens) for tokens in (1, 1 << 20))
    assert (few.phase, many.phase) == ("end to end", "the start")


def test_too_small_a_machine_is_refused_with_both_numbers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "available_nbytes", lambda device: 1000)
    with pytest.raises(
        InputError, match=r"^training takes up to \d+ bytes \(\S+ MB\) of memory in .*, the machine has 1000"
    ):
        train(small_job(model, tmp_path / "out.gguf"))
    assert list(tmp_path.iterdir()) == []
    memory.refuse_small(Bound({"all": 10}, "x"), None, "the machine")


def _train(directory: Path) -> None:
    train(replace(small_job(MODEL, directory / "out.gguf", method="qat", type="q2_k", steps=2, context=128), batch=4))


def test_the_bound_covers_what_is_used(tmp_path: Path) -> None:
    peak = peak_of(_train, tmp_path)
    assert peak is not None
    assert peak <= of("qat", batch=4, context=128).nbytes

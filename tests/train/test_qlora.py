"""QLoRA: adapters learn a text beside a frozen base, and what they learned is what is written and merged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.adapters.gguf import read_gguf_adapter, write_gguf_adapter
from quantize_cli.adapters.merge import merged, read_adapter
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.output import MAY_OVERWRITE
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline.job import Job
from quantize_cli.progress import SILENT
from quantize_cli.runtime.transformer import from_model
from tests import checkpoints, oracle
from tests.adapters.adapters import assert_same
from tests.runtime.synthetic import VOCABULARY, Decoder, weights, write

torch = pytest.importorskip("torch")

from quantize_cli.train.data.examples import Examples  # noqa: E402
from quantize_cli.train.decoder import decoder as torch_decoder  # noqa: E402
from quantize_cli.train.qlora import METHOD, AdaptedTraining  # noqa: E402
from quantize_cli.train.runner.job import TrainJob  # noqa: E402
from quantize_cli.train.runner.likelihood import cross_entropy  # noqa: E402
from quantize_cli.train.runner.phase import Models, Phase, Training, Writing  # noqa: E402
from quantize_cli.train.weights.adapted import AdaptedWeights, frozen_matrices, new_adapters  # noqa: E402
from quantize_cli.train.weights.low_rank import LowRank  # noqa: E402
from quantize_cli.train.weights.trained_matrix import Role  # noqa: E402

CPU = torch.device("cpu")
STEPS, RATE = 30, 0.02
AS_MERGED = 1e-4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other's crumbs of work take longer than it does where others want the cores too."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def examples() -> Examples:
    """Texts that count upwards by threes from anywhere."""
    first = np.random.default_rng(0).integers(0, VOCABULARY, (40, 1))
    tokens = ((first + 3 * np.arange(24)) % VOCABULARY).astype(np.int32)
    counted = np.ones(tokens.shape, bool)
    return Examples(tokens[8:], counted[8:], tokens[:8], counted[:8])


def model(folder: Path, type_: GgmlType = GgmlType.Q4_0, architecture: str = "llama", fused: bool = False) -> Model:
    description = Decoder(architecture, fused=fused)
    return open_model(write(folder / "model.gguf", description, weights(description), lambda name: type_))


def adapted(base: Model, kind: str | None = None, targets: tuple[str, ...] = (), seed: int = 0) -> AdaptedWeights:
    return AdaptedWeights(frozen_matrices(base, kind, CPU), new_adapters(base, targets, 4, 8.0, seed))


def job_of(path: Path, **options: Any) -> TrainJob:
    usual = {"steps": STEPS, "batch": 4, "context": 24, "learning_rate": RATE, "rank": 4, "alpha": 8.0}
    return TrainJob(Job(path, path.with_name("out.gguf")), (), method="qlora", **usual | options)


def training(start: Model, **options: Any) -> AdaptedTraining:
    """As the runner sets it up."""
    job = job_of(start.path, **options)
    models = Models(start, start if METHOD.needs_start(job) else None)
    return METHOD.assemble(job, models, examples(), CPU)


def phase_of(setup: Training) -> Phase:
    (phase,) = METHOD.phases(setup)
    return phase


def trained(phase: Phase, steps: int = STEPS, bfloat16: bool = False) -> list[float]:
    """Losses of the steps, as the loop of the runner makes them."""
    groups = [{"params": group.parameters, "lr": phase.rates[group.role] * group.unit} for group in phase.groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = phase.loss(step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def logits(base: Model, item: AdaptedWeights, tokens: np.ndarray) -> np.ndarray:
    decoder = torch_decoder.Decoder(from_model(base, threads=1, resident=False))
    with torch.no_grad():
        found: np.ndarray = decoder(torch.from_numpy(tokens[None]).long(), item)[0].numpy()
    return found


def with_random_terms(item: AdaptedWeights) -> AdaptedWeights:
    """Adapters as if they had been trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for low_rank in item.adapters.values():
            low_rank.b.normal_(0, 0.1, generator=generator)
    return item


@pytest.mark.parametrize(("type_", "kind"), [(GgmlType.Q4_0, None), (GgmlType.F32, "nf4")])
def test_what_is_held_out_is_predicted_better_after_some_steps(
    type_: GgmlType, kind: str | None, tmp_path: Path
) -> None:
    base = model(tmp_path, type_)
    phase = phase_of(training(base, base=kind))
    assert phase.watched is not None
    before, losses, after = phase.watched(), trained(phase), phase.watched()
    assert after < before - 0.5
    assert losses[-1] < losses[0] - 0.5


def test_the_base_stays_as_it_is_and_adapters_begin_as_nothing(tmp_path: Path) -> None:
    base = model(tmp_path)
    setup, tokens = training(base), np.arange(20)
    item = setup.adapted
    before = {name: matrix() for name, matrix in item.frozen.items()}
    np.testing.assert_allclose(logits(base, item, tokens), from_model(base).logits(tokens), atol=0.2)
    trained(phase_of(setup), 3)
    assert all(torch.equal(matrix(), before[name]) for name, matrix in item.frozen.items())
    assert set(item.state_dict()) == {
        f"low_rank.{name.replace('.', '/')}.{part}" for name in item.adapters for part in "ab"
    }


def test_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    base = model(tmp_path)
    runs = []
    for checkpointing in (False, True):
        runs.append(trained(phase_of(training(base, gradient_checkpointing=checkpointing)), 3))
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


def test_bfloat16_gives_nearly_the_same_losses(tmp_path: Path) -> None:
    base = model(tmp_path)
    runs = []
    for bfloat16 in (False, True):
        setup = training(base, gradient_checkpointing=bfloat16)
        runs.append(trained(phase_of(setup), 5, bfloat16))
    assert runs[0] == pytest.approx(runs[1], abs=0.1)


def test_only_tokens_that_count_are_predicted(tmp_path: Path) -> None:
    base = model(tmp_path)
    setup = training(base)
    tokens, counted = setup.held_out(2)
    counted[:] = False
    counted[1, 5] = True
    expected = torch.log_softmax(setup.decoder(tokens, setup.adapted)[1, 4], -1)[tokens[1, 5]]
    assert cross_entropy(setup.decoder, tokens, counted, setup.adapted).item() == pytest.approx(
        -expected.item(), rel=1e-5
    )
    counted[1, 5], counted[1, 0] = False, True
    assert cross_entropy(setup.decoder, tokens, counted, setup.adapted).item() == 0.0


@pytest.mark.parametrize(
    ("architecture", "fused"), [("llama", False), ("gpt2", True), ("phi3", True), ("qwen3", False)]
)
def test_a_merged_model_computes_what_base_and_adapter_do(architecture: str, fused: bool, tmp_path: Path) -> None:
    base = model(tmp_path, GgmlType.F32, architecture, fused)
    item, tokens = with_random_terms(adapted(base)), np.arange(20)
    expected = from_model(merged(base, item.adapter(architecture))).logits(tokens)
    np.testing.assert_allclose(logits(base, item, tokens), expected, atol=AS_MERGED)
    assert np.abs(expected - from_model(base).logits(tokens)).max() > 1000 * AS_MERGED


def test_the_written_adapter_is_the_trained_one(tmp_path: Path) -> None:
    base = model(tmp_path)
    item = with_random_terms(adapted(base))
    write_gguf_adapter(tmp_path / "a.gguf", item.adapter("llama"))
    for name, term in read_gguf_adapter(tmp_path / "a.gguf").terms.items():
        low_rank = item.adapters[name]
        assert np.array_equal(term.a, low_rank.a.detach().numpy())
        assert np.array_equal(term.b, low_rank.b.detach().numpy())
        assert term.scale == low_rank.scale


def test_llama_cpp_computes_what_was_trained(tmp_path: Path) -> None:
    base = model(tmp_path, GgmlType.F32)
    item, tokens = with_random_terms(adapted(base)), np.arange(20, dtype=np.int32)
    write_gguf_adapter(tmp_path / "a.gguf", item.adapter("llama"))
    reference = oracle.Model(base.path, exact=True)
    reference.adapt(tmp_path / "a.gguf")
    np.testing.assert_allclose(logits(base, item, tokens), reference.logits(tokens), atol=1e-2)


def test_what_is_drawn_follows_from_seed_and_name_alone(tmp_path: Path) -> None:
    base = model(tmp_path)
    all_of_them, one = adapted(base), adapted(base, targets=("blk.1.ffn_up.weight",))
    name = "blk.1.ffn_up.weight"
    assert list(one.adapters) == [name]
    assert torch.equal(all_of_them.adapters[name].a, one.adapters[name].a)
    assert not torch.equal(adapted(base, seed=1).adapters[name].a, one.adapters[name].a)
    assert not torch.equal(all_of_them.adapters["blk.0.ffn_up.weight"].a, one.adapters[name].a)


def test_factors_are_drawn_as_peft_draws_them() -> None:
    low_rank = LowRank("x", (10, 400), 64, 16.0, seed=0)
    assert not low_rank.b.any()
    assert low_rank.a.abs().max().item() == pytest.approx(400**-0.5, rel=1e-3)
    assert low_rank.a.std().item() == pytest.approx((3 * 400) ** -0.5, rel=0.02)
    assert low_rank.scale == 0.25


def test_adapters_stand_beside_attention_and_feed_forward(tmp_path: Path) -> None:
    base = model(tmp_path)
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert set(adapted(base).adapters) == {f"blk.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert set(adapted(base, targets=("output.weight", "*attn_v*")).adapters) == {
        "output.weight", "blk.0.attn_v.weight", "blk.1.attn_v.weight"
    }  # fmt: skip


@pytest.mark.parametrize("pattern", ["token_embd.weight", "blk.0.attn_norm.weight", "q_proj"])
def test_a_target_that_is_no_linear_layer_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--target '{pattern}': matches no matrix"):
        adapted(model(tmp_path), targets=(pattern,))


def test_rates_are_absolute_and_the_papers_by_default(tmp_path: Path) -> None:
    setup = training(model(tmp_path))
    assert dict(phase_of(setup).rates) == {Role.ADAPTERS: pytest.approx(RATE)}
    phase = phase_of(replace(setup, job=replace(setup.job, learning_rate=None)))
    assert (dict(phase.rates), [group.unit for group in phase.groups]) == ({Role.ADAPTERS: 2e-4}, [1.0])
    (outline,) = METHOD.outline(setup.job, 2)
    assert (outline.name, outline.steps, outline.roles) == (phase.name, phase.steps, frozenset(phase.rates))


@pytest.mark.parametrize("merge", [False, True])
def test_adapter_and_model_are_written(merge: bool, tmp_path: Path) -> None:
    source = open_model(checkpoints.build("llama", tmp_path / "m"))
    job = job_of(tmp_path / "m", merge=merge, base="nf4")
    job = replace(job, conversion=replace(job.conversion, type="q8_0", methods=("hqq",)))
    setup = METHOD.assemble(job, Models(source, None), examples(), CPU)
    with_random_terms(setup.adapted)
    assert METHOD.refuse(job)[-1] == tmp_path / "out.peft"
    METHOD.write(setup, Models(source, None), Writing(MAY_OVERWRITE, 1, SILENT))
    file = tmp_path / ("out.lora.gguf" if merge else "out.gguf")
    expected = merged(source, setup.adapted.adapter("llama"))
    for path in (file, tmp_path / "out.peft"):
        assert_same(read_adapter(path, source), setup.adapted.adapter("llama"))
    assert METHOD.refuse(job)[-1].parent == tmp_path / "out.peft"
    if merge:
        tokens = np.arange(3, 23)
        difference = from_model(open_model(tmp_path / "out.gguf")).logits(tokens) - from_model(expected).logits(tokens)
        assert np.abs(difference).max() < 0.1 * np.abs(from_model(expected).logits(tokens)).max()


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path / "m")
    for options, message in (
        ({"base": "fp4"}, "--base 'fp4': not nf4"), ({"base": "nf4", "start": tmp_path}, "--base and --start"),
        ({"rank": 0}, "--rank 0 and --alpha 8"), ({"save_float": tmp_path}, "--save-float"),
        ({"conversion": replace(job.conversion, certify=tmp_path)}, "--certify"),
        ({"conversion": Job(tmp_path, tmp_path / "out")}, "not called .gguf"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            METHOD.refuse(replace(job, **options))

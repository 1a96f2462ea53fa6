"""QLoRA: adapters learn a text beside a frozen base, and what they learned is what is written and merged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.adapters.gguf import read_gguf_adapter, write_gguf_adapter
from quantize_cli.adapters.merge import merged
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline.job import Job
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.runtime.synthetic import VOCABULARY, Decoder, weights, write

torch = pytest.importorskip("torch")

from quantize_cli.train.data.examples import Examples  # noqa: E402
from quantize_cli.train.decoder import decoder as torch_decoder  # noqa: E402
from quantize_cli.train.qlora import METHOD  # noqa: E402
from quantize_cli.train.runner.job import TrainJob  # noqa: E402
from quantize_cli.train.runner.likelihood import cross_entropy  # noqa: E402
from quantize_cli.train.runner.phase import Phase, Training  # noqa: E402
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


class Chunks(Examples):
    """Chunks of which each step sees some."""

    def batch(self, step: int, seed: int, size: int) -> np.ndarray:
        return np.random.default_rng([seed, step]).integers(0, len(self.tokens), size)


def examples() -> Examples:
    """Texts that count upwards by threes from anywhere."""
    first = np.random.default_rng(0).integers(0, VOCABULARY, (40, 1))
    tokens = ((first + 3 * np.arange(24)) % VOCABULARY).astype(np.int32)
    counted = np.ones(tokens.shape, bool)
    return Chunks(tokens[8:], counted[8:], tokens[:8], counted[:8])


def model(folder: Path, type_: GgmlType = GgmlType.Q4_0, architecture: str = "llama", fused: bool = False) -> Model:
    description = Decoder(architecture, fused=fused)
    return open_model(write(folder / "model.gguf", description, weights(description), lambda name: type_))


def adapted(base: Model, kind: str | None = None, targets: tuple[str, ...] = (), seed: int = 0) -> AdaptedWeights:
    return AdaptedWeights(frozen_matrices(base, kind, CPU), new_adapters(base, targets, 4, 8.0, seed))


def training(base: Model, item: AdaptedWeights | None, **options: object) -> Training:
    job = TrainJob(Job(base.path), (), method="qlora", steps=STEPS, batch=4, context=24, learning_rate=RATE, **options)
    decoder = torch_decoder.Decoder(
        from_model(base, threads=1, resident=False), checkpointing=job.gradient_checkpointing
    )
    return Training(job, decoder, lambda name: torch.empty(0), {}, lambda name: torch.empty(0), examples(), CPU, item)


def trained(phase: Phase, steps: int = STEPS) -> list[float]:
    """Losses of the steps, as the loop of the runner makes them."""
    groups = [{"params": group.parameters, "lr": phase.rates[group.role] * group.unit} for group in phase.groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
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
    (phase,) = METHOD.phases(training(base, adapted(base, kind)))
    assert phase.watched is not None
    before, losses, after = phase.watched(), trained(phase), phase.watched()
    assert after < before - 0.5
    assert losses[-1] < losses[0] - 0.5


def test_the_base_stays_as_it_is_and_adapters_begin_as_nothing(tmp_path: Path) -> None:
    base = model(tmp_path)
    item, tokens = adapted(base), np.arange(20)
    before = {name: matrix() for name, matrix in item.frozen.items()}
    np.testing.assert_allclose(logits(base, item, tokens), from_model(base).logits(tokens), atol=0.2)
    (phase,) = METHOD.phases(training(base, item))
    trained(phase, 3)
    assert all(torch.equal(matrix(), before[name]) for name, matrix in item.frozen.items())
    assert set(item.state_dict()) == {
        f"low_rank.{name.replace('.', '/')}.{part}" for name in item.adapters for part in "ab"
    }


def test_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    base = model(tmp_path)
    runs = []
    for checkpointing in (False, True):
        (phase,) = METHOD.phases(training(base, adapted(base), gradient_checkpointing=checkpointing))
        runs.append(trained(phase, 3))
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


def test_bfloat16_gives_nearly_the_same_losses(tmp_path: Path) -> None:
    base = model(tmp_path)
    runs = []
    for bfloat16 in (False, True):
        (phase,) = METHOD.phases(training(base, adapted(base), bfloat16=bfloat16, gradient_checkpointing=bfloat16))
        runs.append(trained(phase, 5))
    assert runs[0] == pytest.approx(runs[1], abs=0.1)


def test_only_tokens_that_count_are_predicted(tmp_path: Path) -> None:
    base = model(tmp_path)
    setup = training(base, adapted(base))
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


def test_another_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--base 'fp4': not nf4"):
        adapted(model(tmp_path), "fp4")


def test_rates_are_absolute_and_the_papers_by_default(tmp_path: Path) -> None:
    base = model(tmp_path)
    setup = training(base, adapted(base))
    (phase,) = METHOD.phases(setup)
    assert dict(phase.rates) == {Role.ADAPTERS: pytest.approx(RATE)}
    (phase,) = METHOD.phases(replace(setup, job=replace(setup.job, learning_rate=None, steps=None)))
    assert (dict(phase.rates), [group.unit for group in phase.groups]) == ({Role.ADAPTERS: 2e-4}, [1.0])
    with pytest.raises(UsageError, match="no matrix that an adapter"):
        next(METHOD.phases(replace(setup, adapted=None)))

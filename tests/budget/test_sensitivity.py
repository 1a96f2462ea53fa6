"""What a tensor costs is what the model loses when that tensor alone is rounded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.budget import sensitivity
from quantize_cli.budget.inputs import LayerInputs, TensorInputs
from quantize_cli.budget.rounding import Round, TrialRounding, by_importance, by_method
from quantize_cli.budget.sensitivity import Effort, Sensitivities, extrapolated, measure
from quantize_cli.calibration import gptq
from quantize_cli.calibration.runner.sequence import rounder
from quantize_cli.calibration.statistics.observer import Observer
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import from_array
from quantize_cli.runtime.transformer import from_model
from tests.runtime import synthetic

TYPES = (GgmlType.Q4_0, GgmlType.Q5_0, GgmlType.Q8_0)
DECODERS = {
    "llama": synthetic.Decoder("llama"),
    "tied": synthetic.Decoder("llama", tied=True),
    "fused": synthetic.Decoder("phi3", fused=True, key_value_heads=4),
    "experts": synthetic.Decoder("llama", experts=4),
    "positions": synthetic.Decoder("gpt2", fused=True, biased=True, key_value_heads=4),
    "shared expert": synthetic.Decoder(
        "qwen2moe", experts=4, biased=True, expert_feed_forward=64, metadata={"expert_feed_forward_length": 64}
    ),
}


def opened(decoder: synthetic.Decoder, folder: Path) -> Model:
    return open_model(synthetic.write(folder / "model.gguf", decoder, synthetic.weights(decoder)))


def chunks(count: int = 3, context: int = 24) -> np.ndarray:
    return synthetic.tokens(count * context).reshape(count, context)


def logits_of(model: Model, tokens: np.ndarray) -> np.ndarray:
    return from_model(model, threads=1).logits(tokens).astype(np.float64)


def measured(
    model: Model,
    tokens: np.ndarray,
    types: Sequence[GgmlType] = TYPES,
    rounding: TrialRounding | None = None,
    run: Sequence[GgmlType] = TYPES[:1],
    sequences: int | None = None,
) -> Sensitivities:
    """On one thread, as models of this size have no work for more."""
    effort = Effort(run, sequences, from_model(model, threads=1))
    return measure(model, tokens, types, rounding, effort=effort)


def naive_loss(base: np.ndarray, model: Model, name: str, weights: np.ndarray, tokens: np.ndarray) -> float:
    """The mean KL divergence from `base` of the whole model run anew with one tensor exchanged."""
    other = [from_array(name, weights.reshape(t.shape)) if t.name == name else t for t in model.tensors]
    changed = logits_of(replace(model, tensors=other), tokens)
    logp, logq = (
        logits
        - logits.max(-1, keepdims=True)
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))[..., None]
        for logits in (base, changed)
    )
    return float((np.exp(logp) * (logp - logq)).sum(-1).mean())


def rounded(model: Model, name: str, type_: GgmlType, importance: Mapping[str, np.ndarray]) -> np.ndarray:
    (tensor,) = [tensor for tensor in model.tensors if tensor.name == name]
    weights = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
    costs = importance.get(name)
    matrices = np.split(weights, 1 if costs is None else len(costs))
    return np.concatenate([
        quants.decode(type_, quants.encode(type_, matrix, None if costs is None else costs[number]))
        for number, matrix in enumerate(matrices)
    ])  # fmt: skip


@pytest.mark.parametrize("name", DECODERS)
def test_each_loss_is_that_of_the_whole_model_run_anew(name: str, tmp_path: Path) -> None:
    model, tokens = opened(DECODERS[name], tmp_path), chunks()
    found = measured(model, tokens, TYPES[:1])
    kept = ("position_embd.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight")
    matrices = {tensor.name for tensor in model.tensors if len(tensor.shape) > 1 and not tensor.name.endswith(kept)}
    assert {tensor.name for tensor in found.tensors} == matrices
    base = logits_of(model, tokens)
    for tensor in found.tensors:
        weights = rounded(model, tensor.name, TYPES[0], found.importance)
        expected = naive_loss(base, model, tensor.name, weights, tokens)
        # 1e-8: what sums in another order leave of a divergence of nothing.
        assert tensor.losses[TYPES[0]] == pytest.approx(expected, rel=2e-3, abs=1e-8), tensor.name


def test_losses_that_are_not_run_follow_from_the_error_of_the_output(tmp_path: Path) -> None:
    model = opened(DECODERS["llama"], tmp_path)
    run = measured(model, chunks(8), TYPES, run=TYPES)
    one = measured(model, chunks(8))
    for each, other in zip(run.tensors, one.tensors, strict=True):
        assert each.losses[TYPES[0]] == other.losses[TYPES[0]]
        for type_ in TYPES[1:]:
            assert other.losses[type_] == pytest.approx(each.losses[type_], rel=0.6)


def test_errors_of_a_part_of_the_rows_are_near_those_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(DECODERS["experts"], tmp_path)
    whole = measured(model, chunks())
    monkeypatch.setattr(sensitivity, "_ROUNDED", 1 << 11)
    for part, other in zip(measured(model, chunks()).tensors, whole.tensors, strict=True):
        assert part.losses[TYPES[0]] == other.losses[TYPES[0]]
        for type_ in TYPES[1:]:
            # Of some stacks eight rows of each matrix are left.
            assert part.losses[type_] == pytest.approx(other.losses[type_], rel=0.5)


def test_fewer_chunks_can_be_run_than_are_looked_at(tmp_path: Path) -> None:
    model, tokens = opened(DECODERS["llama"], tmp_path), chunks(3)
    part, alone, whole = measured(model, tokens, sequences=1), measured(model, tokens[:1]), measured(model, tokens)
    for name, matrices in part.importance.items():
        assert np.array_equal(matrices, whole.importance[name])
    for tensor, other in zip(part.tensors, alone.tensors, strict=True):
        if tensor.inputs is None:  # of the others the rounding hangs on the importance
            assert tensor.losses[TYPES[0]] == pytest.approx(other.losses[TYPES[0]], rel=1e-5)


def test_importance_is_the_mean_square_of_what_a_matrix_is_given(tmp_path: Path) -> None:
    model, tokens = opened(DECODERS["tied"], tmp_path), chunks()
    found = measured(model, tokens, TYPES[:1])
    hidden = from_model(model).hidden(tokens).reshape(-1, 64)
    assert found.importance["token_embd.weight"] == pytest.approx(np.square(hidden).mean(0)[None], rel=1e-4)
    fused = measured(opened(DECODERS["fused"], tmp_path), tokens, TYPES[:1])
    assert {matrices.shape for matrices in fused.importance.values()} == {(1, 64), (1, 96)}


def test_an_expert_that_met_nothing_weighs_all_columns_alike() -> None:
    tensor = from_array("blk.0.ffn_up_exps.weight", np.ones((2, 3, 4), np.float32))
    observer = Observer()
    inputs = LayerInputs(observer, 2)
    observer(tensor.name, 1, np.full((6, 4), 2, np.float32))
    seen = inputs.of(tensor)
    assert seen is not None
    assert seen.importance().tolist() == [[1.0] * 4, [4.0] * 4]
    error = np.zeros((6, 4), np.float32)
    error[:3] = 100
    assert seen.output_error(error) == 0
    error[3] = 0.5
    assert seen.output_error(error) == 6 * 4**2  # of six activations, though two were kept


def test_rounding_on_all_threads_gives_each_matrix_its_own_importance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize_cli.budget.rounding._CHUNK_WEIGHTS", 5 * 256)
    random = np.random.default_rng(0)
    weights = random.normal(size=(3 * 7, 256)).astype(np.float32)
    costs = np.square(random.normal(size=(3, 256))).astype(np.float32)
    seen = TensorInputs(np.ones(3, np.int64), costs.astype(np.float64))
    found = by_importance(2).of(seen)(GgmlType.Q2_K, weights)
    expected = [
        quants.encode(GgmlType.Q2_K, part, cost) for part, cost in zip(np.split(weights, 3), costs, strict=True)
    ]
    assert np.array_equal(np.concatenate(expected), found)


def test_another_rounding_can_be_given(tmp_path: Path) -> None:
    model, asked = opened(DECODERS["llama"], tmp_path), []

    def exact(type_: GgmlType, weights: np.ndarray) -> np.ndarray:
        asked.append((type_, weights.shape))
        return weights.view(np.uint8)

    found = measured(model, chunks(), (GgmlType.F32,), TrialRounding(lambda seen: exact))
    assert len(asked) == len(found.tensors)
    assert (GgmlType.F32, (64, 64)) in asked
    assert all(tensor.losses[GgmlType.F32] < 1e-8 for tensor in found.tensors)


def test_moments_are_sums_of_outer_products_and_say_what_errors_cost() -> None:
    tensor = from_array("blk.0.ffn_up_exps.weight", np.ones((2, 3, 4), np.float32))
    observer, random = Observer(), np.random.default_rng(3)
    inputs = LayerInputs(observer, 2, moments=True)
    shown = [random.normal(size=(n, 4)).astype(np.float32) for n in (5, 7)]
    for number, x in enumerate(shown):
        observer(tensor.name, number, x)
    seen, together = inputs.of(tensor), np.concatenate(shown).astype(np.float64)
    assert seen is not None
    assert seen.moments == pytest.approx(together.T @ together, rel=1e-2, abs=1e-2)
    assert seen.samples == {}
    error = random.normal(size=(6, 4)).astype(np.float32)
    assert seen.output_error(error) == pytest.approx(np.square(together @ error.T.astype(np.float64)).sum(), rel=1e-2)


def test_a_method_rounds_by_the_moments_of_what_each_tensor_is_given(tmp_path: Path) -> None:
    model, tokens = opened(DECODERS["llama"], tmp_path), chunks(8)
    asked = []

    def prepare(moments: np.ndarray) -> Round:
        asked.append(moments.shape)
        return rounder(gptq.round_rows, moments, 1)

    found, plain = measured(model, tokens, rounding=by_method(prepare, 1)), measured(model, tokens)
    assert sorted(asked) == [(64, 64)] * 7 + [(96, 96)] * 2  # of two layers, once for matrices that read the same
    for tensor, other in zip(found.tensors, plain.tensors, strict=True):
        assert list(tensor.losses) == list(other.losses)
        assert tensor.inputs is None or tensor.inputs.moments is None  # those of all tensors would fill memory
        if tensor.inputs is not None:
            assert all(tensor.errors[type_] < other.errors[type_] for type_ in tensor.errors)
    assert sum(t.losses[TYPES[0]] for t in found.tensors) < sum(t.losses[TYPES[0]] for t in plain.tensors)


def test_a_type_that_needs_importance_is_left_out_where_there_is_none(tmp_path: Path) -> None:
    model = open_model(synthetic.small(tmp_path, width=256, head_width=64, feed_forward=256))
    found = {t.name: t for t in measured(model, chunks(), (GgmlType.IQ2_S, GgmlType.Q4_K)).tensors}
    assert list(found["token_embd.weight"].losses) == [GgmlType.Q4_K]
    assert list(found["output.weight"].losses) == [GgmlType.IQ2_S, GgmlType.Q4_K]
    with pytest.raises(InputError, match="importance"):
        measured(model, chunks(), (GgmlType.IQ2_S,))


def test_rows_that_do_not_fill_blocks_have_what_stands_in(tmp_path: Path) -> None:
    found = measured(opened(DECODERS["llama"], tmp_path), chunks(), sensitivity.TYPES)
    expected = {GgmlType.Q4_0, GgmlType.IQ4_NL, GgmlType.Q5_0, GgmlType.Q5_1, GgmlType.Q8_0}
    assert {frozenset(tensor.losses) for tensor in found.tensors} == {frozenset(expected)}


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (np.zeros((0, 8), np.int32), "there are no tokens to run"),
        (np.full((1, 8), 96), "token 96 is not in a vocabulary of 96"),
        (np.full((1, 8), -1), "token -1 is not in a vocabulary of 96"),
        (np.zeros((1, 129), np.int32), "128 positions, 129 are needed"),
    ],
)
def test_tokens_a_model_cannot_be_run_on_are_refused(tokens: np.ndarray, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        measured(opened(DECODERS["positions"], tmp_path), tokens, TYPES[:1])


def test_a_model_that_diverged_is_refused(tmp_path: Path) -> None:
    decoder = DECODERS["llama"]
    weights = synthetic.weights(decoder)
    weights["blk.1.ffn_up.weight"][:] = np.float32(3e38)
    model = open_model(synthetic.write(tmp_path / "model.gguf", decoder, weights))
    with pytest.raises(InputError, match="overflow"):
        measured(model, chunks(), TYPES[:1])


def test_nothing_lost_is_told_apart_from_nothing_known() -> None:
    types = (GgmlType.Q4_0, GgmlType.Q8_0)
    assert extrapolated({types[0]: 8.0}, {types[0]: 0.4, types[1]: 0.1}) == pytest.approx({types[0]: 8, types[1]: 2})
    assert extrapolated({types[0]: 0.0}, {types[0]: 0.0, types[1]: 0.0}) == {types[0]: 0, types[1]: 0}


def test_what_is_measured_is_the_same_every_time(tmp_path: Path) -> None:
    model = opened(DECODERS["llama"], tmp_path)
    first, second = (measured(model, chunks(), TYPES) for _ in range(2))
    assert isinstance(first, Sensitivities)
    assert first.losses == second.losses

"""A model of any family is rounded matrix by matrix, each once, and comes nearer to itself than rounded plainly."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration import gptq, zeroquant
from quantize_cli.calibration.runner.sequence import SequenceJob, covered, rounded
from quantize_cli.calibration.statistics.inputs import Inputs
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType, row_nbytes
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor
from quantize_cli.runtime.transformer import from_model
from tests.calibration.outlying import relative
from tests.runtime.synthetic import Decoder, tokens, weights, write

CONTEXT = 64
CHUNKS = tokens(10 * CONTEXT).reshape(10, CONTEXT)
MOE = {"experts": 4, "expert_feed_forward": 64, "metadata": {"expert_feed_forward_length": 64}}
FAMILIES = {
    "llama": Decoder("llama"),
    "llama, tied": Decoder("llama", tied=True),
    "mixtral": Decoder("llama", experts=4, feed_forward=64),
    "qwen2, tied": Decoder("qwen2", biased=True, tied=True),
    "qwen2moe": Decoder("qwen2moe", biased=True, **MOE),
    "qwen3": Decoder("qwen3", head_width=32),
    "qwen3moe": Decoder("qwen3moe", head_width=32, **MOE),
    "gemma2": Decoder("gemma2", tied=True),
    "gemma3": Decoder("gemma3", tied=True, metadata={"attention.sliding_window": 16}),
    "phi3": Decoder("phi3", fused=True),
    "gpt2": Decoder("gpt2", fused=True, key_value_heads=4),
    "gpt2, tied": Decoder("gpt2", fused=True, key_value_heads=4, tied=True),
}


def model_of(folder: Path, name: str) -> Model:
    return open_model(write(folder / "model.gguf", FAMILIES[name], weights(FAMILIES[name])))


def types_of(model: Model, type_: GgmlType) -> dict[str, GgmlType]:
    """Of everything a recipe rounds, and more."""
    return {tensor.name: type_ for tensor in model.tensors}


def matrices(model: Model) -> list[str]:
    """Names of all that is multiplied by activations but routers, and of the token embedding."""
    small = ("norm", "_inp", "position_embd")
    return [t.name for t in model.tensors if len(t.shape) > 1 and not any(part in t.name for part in small)]


def job(model: Model, type_: GgmlType, threads: int = 2) -> SequenceJob:
    types = {name: found for name, found in covered(model, types_of(model, type_)).items() if name in matrices(model)}
    return SequenceJob(model, types, CHUNKS, gptq.round_rows, threads)


def finished(calibration: SequenceJob, results: dict[str, np.ndarray]) -> Model:
    """The model with what is rounded in it."""

    def become(tensor: Tensor) -> Tensor:
        rows = results[tensor.name]
        return tensor.rounded(calibration.types[tensor.name], rows)

    model = calibration.model
    return replace(model, tensors=[become(t) if t.name in results else t for t in model.tensors])


def plain(calibration: SequenceJob) -> dict[str, np.ndarray]:
    by_name = {tensor.name: tensor for tensor in calibration.model.tensors}
    return {
        name: quants.encode(type_, by_name[name].read(0, by_name[name].row_count))
        for name, type_ in calibration.types.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_every_matrix_is_rounded_once_and_the_model_comes_nearer_to_itself(name: str, tmp_path: Path) -> None:
    """By its hidden states on the text itself, in the coarsest type that fits."""
    model = model_of(tmp_path, name)
    calibration = job(model, GgmlType.Q4_0)
    results = list(rounded(calibration))
    assert sorted(matrices(model)) == sorted(found for found, _ in results)
    by_name = {tensor.name: tensor for tensor in model.tensors}
    for found, rows in results:
        expected = by_name[found].row_count, row_nbytes(GgmlType.Q4_0, by_name[found].columns)
        assert (rows.shape, rows.dtype) == (expected, np.uint8), found
    wanted = from_model(model).hidden(CHUNKS)
    ours, theirs = (
        relative(from_model(finished(calibration, rows)).hidden(CHUNKS), wanted)
        for rows in (dict(results), plain(calibration))
    )
    assert ours < 0.9 * theirs


@pytest.mark.parametrize("name", ["llama", "qwen2moe"])
def test_the_number_of_threads_changes_no_byte(name: str, tmp_path: Path) -> None:
    model = model_of(tmp_path, name)
    one, two = (dict(rounded(job(model, GgmlType.Q4_0, threads))) for threads in (1, 2))
    assert one.keys() == two.keys()
    assert [found for found in one if not np.array_equal(one[found], two[found])] == []


def test_a_method_that_fits_scales_comes_nearer_too(tmp_path: Path) -> None:
    model = model_of(tmp_path, "llama")
    calibration = replace(job(model, GgmlType.Q4_0), round_rows=zeroquant.round_rows)
    wanted = from_model(model).hidden(CHUNKS)
    ours, theirs = (
        relative(from_model(finished(calibration, rows)).hidden(CHUNKS), wanted)
        for rows in (dict(rounded(calibration)), plain(calibration))
    )
    assert ours < theirs


def test_matrices_behind_make_up_for_those_before(tmp_path: Path) -> None:
    """In a type that loses next to nothing, matrices are no longer the float model's where others before lost much."""
    model = model_of(tmp_path, "llama")
    calibration = job(model, GgmlType.Q4_0)
    types = {name: GgmlType.Q4_0 if "attn_v" in name else GgmlType.Q8_0 for name in calibration.types}
    results = dict(rounded(replace(calibration, types=types)))
    alone = replace(calibration, types={"blk.0.attn_output.weight": GgmlType.Q8_0})
    ((name, rows),) = rounded(alone)
    weights = next(t for t in model.tensors if t.name == name).read(0, 64)
    kept, changed = (relative(quants.decode(GgmlType.Q8_0, found), weights) for found in (rows, results[name]))
    assert kept < 0.01
    assert changed > 2 * kept


def test_what_is_behind_is_given_up(tmp_path: Path) -> None:
    model, alive = model_of(tmp_path, "llama"), {}
    for name, rows in rounded(job(model, GgmlType.Q4_0)):
        alive[name] = weakref.ref(rows)
        del rows
        gc.collect()
        place = name.split(".")[:2]
        assert [found for found, row in alive.items() if row() is not None and found.split(".")[:2] != place] == []


def test_each_expert_is_rounded_for_the_tokens_it_is_sent(tmp_path: Path) -> None:
    """The inputs of gates, asked for alone, are those of the float model."""
    from tests.runtime.test_observed_layer import shown

    decoder = FAMILIES["mixtral"]
    model, name = model_of(tmp_path, "mixtral"), "blk.0.ffn_gate_exps.weight"
    given: list[Inputs] = []

    def note(type_: GgmlType, wanted: np.ndarray, inputs: Inputs) -> np.ndarray:
        given.append(inputs)
        return quants.encode(type_, wanted)

    chunks = tokens(40).reshape(2, 20)
    list(rounded(SequenceJob(model, {name: GgmlType.Q4_0}, chunks, note)))
    seen, _ = shown(from_model(model), lambda found: found == name)
    own = [seen[name, number].astype(float).T @ seen[name, number] for number in range(decoder.experts)]
    pooled = sum(own) / sum(len(x) for x in seen.values())
    assert len(given) == decoder.experts
    for second, inputs in zip(own, given, strict=True):
        expected = second + 0.25 * decoder.width * pooled
        assert np.allclose(inputs.moments, expected / expected.diagonal().mean(), atol=2e-2)  # bfloat16


@pytest.mark.parametrize("kinds", [("attn_q", "attn_v"), ("ffn_gate", "ffn_up")])
def test_a_matrix_rounded_alone_has_the_inputs_that_it_shares(kinds: tuple[str, str], tmp_path: Path) -> None:
    model, given = model_of(tmp_path, "llama"), list[np.ndarray]()

    def note(type_: GgmlType, wanted: np.ndarray, inputs: Inputs) -> np.ndarray:
        given.append(inputs.moments)
        return quants.encode(type_, wanted)

    for kind in kinds:
        list(rounded(SequenceJob(model, {f"blk.0.{kind}.weight": GgmlType.Q4_0}, CHUNKS, note)))
    first, second = given
    assert np.array_equal(first, second)
    assert not np.array_equal(first, np.eye(64))


def test_numbers_and_what_is_not_multiplied_are_not_covered(tmp_path: Path) -> None:
    model = model_of(tmp_path, "gpt2")
    found = covered(model, {**types_of(model, GgmlType.Q4_0), "output.weight": GgmlType.F16})
    assert "output.weight" not in found
    assert "position_embd.weight" not in found
    assert "token_embd.weight" in found
    assert covered(model, {}) == {}


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_a_model_that_was_rounded_before_can_be_rounded_again(name: str, tmp_path: Path) -> None:
    decoder = FAMILIES[name]
    model = open_model(write(tmp_path / "q8.gguf", decoder, weights(decoder), lambda name: GgmlType.Q8_0))
    calibration = job(model, GgmlType.Q4_0)
    assert len(dict(rounded(calibration))) == len(calibration.types)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.0.attn_v.weight", "blk.1.ffn_norm.weight", "output.weight"])
def test_a_weight_that_is_not_finite_is_located(name: str, value: float, tmp_path: Path) -> None:
    made = weights(FAMILIES["llama"])
    made[name].reshape(-1, 64)[-1, 3] = value
    calibration = job(open_model(write(tmp_path / "model.gguf", FAMILIES["llama"], made)), GgmlType.Q4_0)
    row = made[name].size // 64 - 1
    with pytest.raises(InputError, match=f"tensor '{name}': {value} at row {row}, column 3"), np.errstate(all="ignore"):
        list(rounded(calibration))


def test_activations_that_are_not_finite_are_told_where_they_are_met(tmp_path: Path) -> None:
    made = weights(FAMILIES["llama"])
    made["blk.1.attn_norm.weight"][:] = 3e38
    calibration = job(open_model(write(tmp_path / "model.gguf", FAMILIES["llama"], made)), GgmlType.Q4_0)
    with pytest.raises(InputError, match="is given activations that are not finite"), np.errstate(all="ignore"):
        list(rounded(calibration))

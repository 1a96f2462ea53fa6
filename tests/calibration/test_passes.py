"""A method sends the text through a model as few times as it needs."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.budget.options import quantizable_tensors
from quantize_cli.budget.sensitivity import Effort, measure
from quantize_cli.calibration import awq, gptq, smoothquant
from quantize_cli.calibration.runner import last_matrix
from quantize_cli.calibration.runner.method import Method
from quantize_cli.calibration.runner.sequence import SequenceJob, rounded
from quantize_cli.calibration.statistics.collector import importance_of
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime import layer_runner
from quantize_cli.runtime.matrix import Matrix
from quantize_cli.runtime.recorder import Recorder
from tests.runtime.synthetic import small, tokens

CHUNKS = tokens(4 * 32).reshape(4, 32)
KINDS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
ONCE = dict.fromkeys(KINDS, 1.0)


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many activations each matrix multiplied, by tensor name."""
    counts: Counter[str] = Counter()
    record = Matrix.record

    def counting(matrix: Matrix, recorder: Recorder, x: np.ndarray) -> np.ndarray:
        recorder.call(lambda: counts.update({matrix.tensor.name: len(x)}))
        return record(matrix, recorder, x)

    monkeypatch.setattr(Matrix, "record", counting)
    return counts


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model(small(tmp_path))


def passes(multiplied: Counter[str], layer: int = 1) -> dict[str, float]:
    """How often each matrix of a layer met each token of the text."""
    return {kind: multiplied[f"blk.{layer}.{kind}.weight"] / CHUNKS.size for kind in KINDS}


def types_of(model: Model) -> dict[str, GgmlType]:
    return {tensor.name: GgmlType.Q4_0 for tensor in quantizable_tensors(model)}


def test_an_importance_takes_one_pass(model: Model, multiplied: Counter[str]) -> None:
    importance_of(model, CHUNKS, lambda done: None)
    assert passes(multiplied) == ONCE


@pytest.mark.parametrize("method", [awq.METHOD, smoothquant.METHOD], ids=["awq", "smoothquant"])
def test_a_method_that_folds_takes_one_pass(method: Method, model: Model, multiplied: Counter[str]) -> None:
    assert method.fold is not None
    method.fold(model, CHUNKS, types_of(model), lambda done: None)
    assert passes(multiplied) == ONCE


def test_a_sequence_takes_one_pass_of_the_float_model_and_one_of_the_other(
    model: Model, multiplied: Counter[str]
) -> None:
    types = {name: type_ for name, type_ in types_of(model).items() if name.startswith("blk.")}
    list(rounded(SequenceJob(model, types, CHUNKS, gptq.round_rows)))
    assert passes(multiplied) == dict.fromkeys(KINDS, 2.0)


def test_what_there_is_no_room_to_keep_is_computed_once_more(
    model: Model, multiplied: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    types = {name: type_ for name, type_ in types_of(model).items() if name.startswith("blk.")}
    monkeypatch.setattr(layer_runner, "_TOKENS", CHUNKS.shape[1])
    expected = dict(rounded(SequenceJob(model, types, CHUNKS, gptq.round_rows)))
    multiplied.clear()
    monkeypatch.setattr(last_matrix, "_KEPT_NBYTES", 3 * CHUNKS.shape[1] * 96 * 4)  # three chunks' of the wider one
    found = dict(rounded(SequenceJob(model, types, CHUNKS, gptq.round_rows)))
    assert passes(multiplied)["ffn_up"] == 2 + 1 / 4
    assert all(np.array_equal(expected[name], rows) for name, rows in found.items())


def test_a_token_embedding_takes_one_more_of_a_few_tokens(model: Model, multiplied: Counter[str]) -> None:
    list(rounded(SequenceJob(model, {"token_embd.weight": GgmlType.Q4_0}, CHUNKS, gptq.round_rows)))
    assert passes(multiplied) == dict.fromkeys(KINDS, 3.0)


def test_a_budget_reads_its_text_once_and_tries_tensors_on_a_part_of_it(model: Model, multiplied: Counter[str]) -> None:
    """On one chunk of four the model is run as it is, with another embedding, and with each matrix of both layers."""
    measure(model, CHUNKS, (GgmlType.Q4_0,), effort=Effort((GgmlType.Q4_0,), chunks=1))
    assert passes(multiplied) == dict.fromkeys(KINDS, 1 + (1 + 1 + 2 * len(KINDS)) / len(CHUNKS))

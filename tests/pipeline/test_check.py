"""All that is wrong with a model is listed at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.formats.errors import FormatError
from quantize_cli.pipeline.check import Checked, check
from tests import checkpoints
from tests.cli.console import MODEL
from tests.golden.families.variants import build
from tests.schemes import quantized
from tests.schemes.test_gptq import gptq, settings


def of(checked: Checked, kind: str) -> list[str]:
    return [problem.message for problem in checked.problems if problem.of == kind]


def sharded(directory: Path, indexed: bool) -> Path:
    """A llama of which the second of three shards is missing, and the first holds what has no place."""
    extra = {"model.layers.0.mlp.odd.weight": np.zeros((2, 2), np.float32)}
    checkpoints.build("llama", directory, tensors=extra, files={"tokenizer.model": None})
    first, names = "model-00001-of-00003.safetensors", [f"model-0000{n}-of-00003.safetensors" for n in (2, 3)]
    (directory / "model.safetensors").rename(directory / first)
    (directory / names[1]).write_bytes(_one_tensor())
    if indexed:
        weight_map: dict[str, Any] = {"model.norm.weight": names[0], "a": first, "b": names[1]}
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def _one_tensor() -> bytes:
    header = json.dumps({"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def test_nothing_is_wrong_with_the_example() -> None:
    checked = check(MODEL, "q4_k_m", finite=True)
    assert (checked.problems, checked.architecture) == ((), "llama")
    assert checked.needs.disk is not None
    assert checked.needs.memory is not None
    assert checked.needs.disk < checked.needs.memory


@pytest.mark.parametrize("indexed", [False, True])
def test_shards_tensors_and_tokenizer_are_told_at_once(indexed: bool, tmp_path: Path) -> None:
    checked = check(sharded(tmp_path, indexed), "q8_0")
    (shard,) = of(checked, "shards")
    assert shard.endswith("shard 'model-00002-of-00003.safetensors' is missing")
    assert [name.split("'")[1] for name in of(checked, "tensors")] == ["model.layers.0.mlp.odd.weight", "b"]
    assert "has none of the tokenizer files" in of(checked, "tokenizer")[0]
    assert all(problem.is_refused for problem in checked.problems)


def test_a_key_that_is_not_computed_is_told_beside_the_rest(tmp_path: Path) -> None:
    extra = {f"model.layers.{n}.odd.weight": np.zeros(2, np.float32) for n in (0, 1)}
    checked = check(build("qwen3_moe", tmp_path, config={"norm_topk_prob": False}, tensors=extra), "q8_0")
    assert len(of(checked, "tensors")) == 2
    assert "'norm_topk_prob' is 'false'" in of(checked, "config")[0]
    assert checked.needs.disk is not None


def test_what_vision_models_hold_besides_is_no_problem(tmp_path: Path) -> None:
    assert of(check(build("gemma3-wrapped", tmp_path), "f16"), "tensors") == []


def test_types_that_stand_in_are_told_in_one_line_each(tmp_path: Path) -> None:
    checked = check(checkpoints.build("llama", tmp_path), "q4_k_m")
    assert "columns do not fill q4_k blocks of 256, q5_0 stands in" in " ".join(of(checked, "types"))
    assert not any(problem.is_refused for problem in checked.problems)


def test_a_type_that_needs_an_importance_is_told() -> None:
    assert any("needs an importance matrix" in message for message in of(check(MODEL, "iq2_xxs"), "types"))


def test_what_is_quantized_already_is_told(tmp_path: Path) -> None:
    quantized.build(tmp_path, gptq(4).parts, settings(4))
    (message,) = of(check(tmp_path, "f16"), "quantized")
    assert message.endswith("1 of 21 tensors are quantized already (gptq, 4 bits)")


def test_numbers_are_looked_at_when_asked_for(tmp_path: Path) -> None:
    weights = {}
    for layer, value in ((0, np.nan), (1, np.inf)):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        weights[name] = checkpoints.numbers(name, (64, 96))
        weights[name][17, 5] = value
    checkpoints.build("llama", tmp_path, tensors=weights)
    assert check(tmp_path, "f16").problems == ()
    told = of(check(tmp_path, "f16", finite=True), "numbers")
    assert [message.split(": ")[-1] for message in told] == ["nan at row 17, column 5", "inf at row 17, column 5"]


def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize_cli.pipeline.check.free_nbytes", lambda path: 1000)
    monkeypatch.setattr("quantize_cli.machine.memory_nbytes", lambda: 2000)
    checked = check(MODEL, "f16")
    assert "the disk has 1000 free" in of(checked, "disk")[0]
    assert "the machine has 2000" in of(checked, "memory")[0]


def test_an_unknown_family_is_told_with_the_nearest(tmp_path: Path) -> None:
    config = {"model_type": "qwen3_next", "architectures": ["Qwen3NextForCausalLM"]}
    checked = check(checkpoints.build("qwen3", tmp_path, config=config), "f16")
    (problem,) = checked.problems
    assert (problem.of, problem.message.endswith("model_type 'qwen3_next' is not supported")) == ("family", True)
    assert problem.hint is not None
    assert problem.hint.startswith("the nearest is 'qwen3")


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file or directory"):
        check(tmp_path / "nothing", "f16")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises((FormatError, InputError)):
        check(tmp_path, "f16")
    with pytest.raises(UsageError):
        check(MODEL, "q9_z")


def test_a_config_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    config = json.loads((checkpoints.build("llama", tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": "many"}))
    checked = check(tmp_path, "f16")
    assert {problem.of for problem in checked.problems} >= {"tensors", "tokenizer"}
    assert all("'vocab_size' is 'many'" in problem.message for problem in checked.problems)

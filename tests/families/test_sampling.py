"""generation_config.json says how to sample; what no GGUF value holds is told and passed over."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.model.sampling import sampling_settings
from quantize_cli.model.source import open_model
from tests import checkpoints


def read(folder: Path, stated: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The keys of a checkpoint with this generation_config.json, and what is told of it."""
    found = open_checkpoint(checkpoints.build("llama", folder, files={"generation_config.json": stated}))
    metadata, warnings = sampling_settings(found)
    return {key: value.data for key, value in metadata.items()}, warnings


def test_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    stated = {"top_k": 20.9, "temperature": 1, "repetition_penalty": 1.5, "penalty_repeat": None, "sequence": "kt"}
    values, told = read(tmp_path, json.dumps(stated))
    names = ("sequence", "top_k", "temp")
    assert (values, told) == (
        dict(zip((f"general.sampling.{name}" for name in names), ("kt", 20, 1.0), strict=True)),
        (),
    )


@pytest.mark.parametrize("key", ["temperature", "top_p", "top_k", "mirostat", "sequence"])
@pytest.mark.parametrize(
    "stated", ["NaN", "Infinity", "-Infinity", "1e39", "-1e39", "1" + 400 * "0", "true", "[1]", '{"a": 1}']
)
def test_what_no_value_holds_is_passed_over(key: str, stated: str, tmp_path: Path) -> None:
    values, told = read(tmp_path, f'{{"{key}": {stated}, "min_p": 0.5}}')
    assert values == {"general.sampling.min_p": 0.5}
    assert len(told) == 1
    assert told[0].startswith(f"{tmp_path}/generation_config.json: {key} is ")


def test_the_largest_numbers_are_held(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    values, told = read(tmp_path, json.dumps({"temperature": largest, "top_k": (1 << 31) - 1}))
    assert (values, told) == ({"general.sampling.temp": largest, "general.sampling.top_k": (1 << 31) - 1}, ())


def test_a_model_is_opened_all_the_same(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"generation_config.json": '{"temperature": NaN}'})
    assert any("temperature is 'nan'" in warning for warning in open_model(tmp_path).warnings)

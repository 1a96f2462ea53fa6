"""Modules of transformers and rows of a file agree for every family: what is stored is what is read, reordered."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from quantize_cli import quants
from quantize_cli.adapters.modules import modules
from quantize_cli.model.source import open_model
from tests.golden.families.variants import VARIANTS, build

FLOAT = [name for name in VARIANTS if VARIANTS[name].dtype == "F32" and name != "gemma3-wrapped"]
"""The wrapper's modules have names of their own."""


@pytest.mark.parametrize("name", FLOAT)
def test_the_rows_of_each_module_are_those_stored(name: str, tmp_path: Path) -> None:
    model = open_model(build(name, tmp_path / name))
    stored = load_file(tmp_path / name / "model.safetensors")
    tensors = {tensor.name: tensor for tensor in model.tensors}
    compared = 0
    for target, module in modules(model).items():
        rows = quants.decode(tensors[target].type, tensors[target].read(0, tensors[target].row_count))
        weights = stored.get(f"{module.name}.weight")
        if weights is not None:
            compared += 1
            assert np.array_equal(module.as_in_file(weights), rows), target
            assert np.array_equal(module.as_in_transformers(rows), weights), target
    assert compared >= 2 * 4

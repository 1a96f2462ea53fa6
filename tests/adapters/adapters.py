"""Adapters with random terms, and what they make of a checkpoint by the plain formula."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.model.source import Model
from quantize_cli.pipeline.roles import layer_of
from tests import checkpoints

ALPHA = 12.0


def adapter_for(model: Model, rank: int = 4) -> Adapter:
    """Terms for all matrices of all layers, as large as the weights."""
    random = np.random.default_rng(0)
    shapes = {t.name: t.shape for t in model.tensors if len(t.shape) == 2 and layer_of(t.name) >= 0}
    terms = {
        name: LowRankTerm(
            random.normal(0, columns**-0.5, (rank, columns)).astype(np.float32),
            random.normal(0, 0.1, (rows, rank)).astype(np.float32),
            ALPHA,
        )
        for name, (rows, columns) in shapes.items()
    }
    return Adapter(str(model.architecture), terms)


def assert_same(adapter: Adapter, expected: Adapter) -> None:
    """The same numbers for the same tensors."""
    assert adapter.architecture == expected.architecture
    assert adapter.terms.keys() == expected.terms.keys()
    for name, term in expected.terms.items():
        other = adapter.terms[name]
        assert (other.a.tobytes(), other.b.tobytes()) == (term.a.tobytes(), term.b.tobytes())
        assert other.alpha == term.alpha


def merged_by_hand(checkpoint: Path, peft: Path, target: Path) -> Path:
    """The checkpoint with W + alpha / r B A for each module that PEFT's files name, in names and order of theirs."""
    config = json.loads((peft / "adapter_config.json").read_text())
    weights, factors = load_file(checkpoint / "model.safetensors"), load_file(peft / "adapter_model.safetensors")
    for name in factors:
        if ".lora_A." not in name:
            continue
        stored = name.removeprefix("base_model.model.").replace(".lora_A.", ".")
        product = factors[name.replace("lora_A", "lora_B")].astype(np.float64) @ factors[name].astype(np.float64)
        term = config["lora_alpha"] / config["r"] * product
        weights[stored] = (weights[stored] + (term.T if config["fan_in_fan_out"] else term)).astype(np.float32)
    target.mkdir()
    for file in checkpoint.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    checkpoints.save_safetensors(target / "model.safetensors", weights)
    return target

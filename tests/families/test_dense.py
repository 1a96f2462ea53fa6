"""Metadata and tensors of every family equal llama.cpp's converter's, of checkpoints that transformers made up."""

from pathlib import Path
from typing import Any

import pytest

from quantize_cli import quants
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, recipe
from tests.families.test_converter import DECIDED_BY_THE_RECIPE, as_golden, f32_bytes
from tests.golden.converter.make_golden import digest
from tests.golden.families.variants import VARIANTS, build, golden

_EPSILON = {
    "exaone.attention.layer_norm_epsilon": "llama.cpp does not read the converter's key in this architecture",
    "exaone.attention.layer_norm_rms_epsilon": "and loads no file without this one",
}
_ALWAYS_SHORT = "without it llama.cpp never takes the factors for long contexts"
DELIBERATE: dict[str, dict[str, str]] = {
    "llama-longrope": {
        "llama.rope.scaling.original_context_length": _ALWAYS_SHORT,
        "llama.rope.scaling.attn_factor": "transformers multiplies cosines and sines by it",
    },
    "gemma2-scaled": {"gemma2.attention.scale": "transformers scales scores by it; our own runtime reads it"},
    "gemma3-other-layers": {
        "gemma3.attention.sliding_window_pattern": "the converter drops a pattern that is not llama.cpp's own"
    },
    "exaone": _EPSILON,
    "exaone-llama3-tied": _EPSILON,
    "minicpm-longrope-untied": {
        "minicpm.rope.scaling.original_context_length": _ALWAYS_SHORT,
        "minicpm.rope.scaling.attn_factor": "the model's own code multiplies cosines and sines by it",
    },
}
"""By variant, the keys that differ, and why."""
ADDED = {"llama-longrope": ["rope_factors_long.weight", "rope_factors_short.weight"]}
"""By variant, tensors that the converter leaves out, though llama.cpp loads them: the model would compute otherwise."""


def tensors_of(model: Model) -> dict[str, Any]:
    """Shape, type and digest of each tensor in float32 and as the mix f16 has it, as golden files have them."""
    described = {}
    for step in plan.make(model, recipe.named("f16")).steps:
        tensor = step.tensor
        rows = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
        half = digest(quants.encode(step.type, rows).tobytes())
        described[tensor.name] = {
            "shape": list(tensor.shape),
            "f32": ["F32", digest(f32_bytes(tensor))],
            "f16": [step.type.name, half],
        }
    return described


@pytest.mark.parametrize("name", VARIANTS)
def test_a_checkpoint_becomes_what_the_converter_makes_of_it(name: str, tmp_path: Path) -> None:
    model, expected = open_model(build(name, tmp_path / name)), golden(name)
    skipped = DECIDED_BY_THE_RECIPE | set(DELIBERATE.get(name, {}))
    metadata = {key: as_golden(value) for key, value in model.metadata.items() if key not in skipped}
    assert {key: value for key, value in expected["metadata"].items() if key not in skipped} == metadata
    assert [*ADDED.get(name, []), *expected["tensors"]] == [tensor.name for tensor in model.tensors]
    described = tensors_of(model)
    assert expected["tensors"] == {key: described[key] for key in described if key not in ADDED.get(name, [])}

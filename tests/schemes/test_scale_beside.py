"""NVFP4 keeps its codes: a scale of the matrix stands beside its blocks, and products are multiplied by it."""

from pathlib import Path

import numpy as np
import pytest

import quantize_cli
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import Model, open_model
from quantize_cli.pipeline import plan, plan_json, recipe
from quantize_cli.quants import decode
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.runtime.test_transformer import normalized_error
from tests.schemes.quantized import TARGET, build
from tests.schemes.test_layouts import NIBBLES, SMALL_SCALES

SCALE = TARGET.replace(".weight", ".scale")
PARTS = {".weight": NIBBLES, ".weight_scale": SMALL_SCALES, ".weight_scale_2": np.float32(0.0002)}
TOKENS = np.random.RandomState(2).randint(3, 500, 40).astype(np.int32)
AS_FLOATS = 1e-3
"""Normalized squared error: products with NVFP4 round activations to eight bits."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvfp4"), PARTS, {"quant_method": "nvfp4"})


@pytest.fixture(scope="module")
def kept(checkpoint: Path) -> Path:
    """The GGUF file with the blocks as they are."""
    return converted(checkpoint, "keep")


def converted(checkpoint: Path, type_: str) -> Path:
    path = checkpoint / f"{type_}.gguf"
    quantize_cli.convert(checkpoint, path, type=type_)
    return path


def logits(path: Path) -> np.ndarray:
    return from_model(open_model(path), threads=1).logits(TOKENS)


def test_the_scale_follows_its_weights(kept: Path) -> None:
    model: Model = open_model(kept)
    names = [tensor.name for tensor in model.tensors]
    assert names.index(SCALE) == names.index(TARGET) + 1
    of = {tensor.name: tensor for tensor in model.tensors}
    assert of[TARGET].type is GgmlType.NVFP4
    assert of[SCALE].read(0, 1).tolist() == [[np.float32(0.0002)]]


def test_the_runtime_multiplies_by_it(checkpoint: Path, kept: Path) -> None:
    assert normalized_error(logits(kept), logits(converted(checkpoint, "f32"))) < AS_FLOATS


def test_llama_cpp_multiplies_by_it(kept: Path) -> None:
    expected = oracle.Model(kept, exact=True).logits(TOKENS)
    assert normalized_error(logits(kept), expected) < AS_FLOATS


def test_the_plan_has_both_and_is_read_back(checkpoint: Path) -> None:
    made = plan.make(open_model(checkpoint), recipe.named("nvfp4"))
    steps = {step.tensor.name: step for step in made.steps}
    assert steps[TARGET].reason.endswith("repacked from nvfp4, with the scale of the matrix beside it")
    assert steps[SCALE].reason == f"the scale of '{TARGET}'"
    assert plan_json.from_json(plan_json.to_json(made)) == made


def test_other_types_hold_the_scale_themselves(checkpoint: Path) -> None:
    made = plan.make(open_model(checkpoint), recipe.named("q8_0"))
    assert SCALE not in [step.tensor.name for step in made.steps]


def test_rounded_again_the_scale_stays(kept: Path) -> None:
    again = kept.with_name("again.gguf")
    quantize_cli.convert(kept, again, type="q8_0", requantize=True)
    of = {tensor.name: tensor for tensor in open_model(again).tensors}
    weights = decode(GgmlType.Q8_0, of[TARGET].read(0, 96)) * np.float32(0.0002)
    stored = {tensor.name: tensor for tensor in open_model(kept).tensors}[TARGET]
    expected = decode(GgmlType.NVFP4, stored.read(0, 96)) * np.float32(0.0002)
    assert normalized_error(weights, expected) < 1e-4
    assert normalized_error(logits(again), logits(kept)) < AS_FLOATS


def test_training_multiplies_by_it(kept: Path) -> None:
    torch = pytest.importorskip("torch")
    from quantize_cli.train.decoder.decoder import Decoder
    from quantize_cli.train.decoder.float_weights import float_weights

    model = open_model(kept)
    with torch.no_grad():
        trained = Decoder(from_model(model, threads=1))(
            torch.from_numpy(TOKENS[None].astype(np.int64)), float_weights(model).__getitem__
        )
    assert normalized_error(trained[0].numpy(), logits(kept)) < AS_FLOATS

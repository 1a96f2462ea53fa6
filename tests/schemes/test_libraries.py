"""What the libraries of the schemes wrote is read as they read it, to the last bit: tests/golden/schemes."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.tensor import Tensor
from quantize_cli.quants import decode
from quantize_cli.schemes import tensors_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "schemes"
CASES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "expected.safetensors").is_file())
REPACKED = {
    "compressed-tensors-int-channel": GgmlType.Q8_0,
    "compressed-tensors-mxfp4": GgmlType.MXFP4,
    "compressed-tensors-pack-4-bits": GgmlType.Q4_0,
    "compressed-tensors-pack-8-bits": GgmlType.Q8_0,
    "fp8-fp4-experts": GgmlType.MXFP4,
    "mxfp4-experts": GgmlType.MXFP4,
}
"""Those whose scales a block can hold."""


def read(case: str) -> dict[str, Tensor]:
    checkpoint = open_checkpoint(GOLDEN / case)
    return {tensor.name: tensor for tensor in tensors_of(checkpoint, checkpoint.tensors)[0]}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_library(case):
    tensors = read(case)
    for name, expected in load_file(GOLDEN / case / "expected.safetensors").items():
        tensor = tensors[name]
        assert tensor.shape == expected.shape
        assert tensor.scheme
        whole = tensor.read(0, tensor.row_count)
        assert np.array_equal(whole, expected.reshape(whole.shape))


@pytest.mark.parametrize("case", CASES)
def test_any_range_of_rows_is_that_part_of_all(case):
    for tensor in read(case).values():
        whole = tensor.read(0, tensor.row_count)
        for start in range(0, tensor.row_count, 3):
            for stop in (start + 1, min(start + 5, tensor.row_count)):
                assert np.array_equal(tensor.read(start, stop), whole[start:stop])


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_the_scheme_is_left(case):
    expected = set(load_file(GOLDEN / case / "expected.safetensors"))
    others = {name for name in read(case) if name not in expected}
    assert all(name.endswith(("lm_head.weight", "norm.weight", "_bias")) for name in others)


@pytest.mark.parametrize("case", CASES)
def test_blocks_hold_what_was_stored(case):
    for tensor in read(case).values():
        for type_ in tensor.block_types:
            if tensor.repacking(type_) == "without loss":
                stored = tensor.repacked(type_).read(0, tensor.row_count)
                assert np.array_equal(decode(type_, stored), tensor.read(0, tensor.row_count))


@pytest.mark.parametrize("case", REPACKED)
def test_what_aligns_is_repacked(case):
    tensors = [tensor for tensor in read(case).values() if tensor.scheme]
    assert [tensor.repacking(REPACKED[case]) for tensor in tensors] == ["without loss"] * len(tensors)

"""Whatever a file of a scheme says, it is read or refused in one line: nothing else is raised."""

import json
import shutil
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import open_checkpoint
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.safetensors import read_header, read_metadata
from quantize_cli.model.tensor import Tensor
from quantize_cli.schemes import tensors_of
from tests.checkpoints import save_safetensors
from tests.schemes.test_libraries import CASES, GOLDEN

CONFIGURED = (
    "compressed-tensors-mixed",
    "compressed-tensors-float-block",
    "fp8-blocks",
    "modelopt-int4",
    "mxfp4-experts",
)
"""Those whose configurations differ in more than numbers."""
WRONG = (None, 0, -1, 3, 1.5, "x", True, [], {}, [0, 0], [1], ["a", "b"], 2**70)


def opened(directory: Path) -> list[Tensor]:
    checkpoint = open_checkpoint(directory)
    return tensors_of(checkpoint, checkpoint.tensors)[0]


def read_everything(directory: Path) -> str:
    """What is said against a checkpoint, which is one line; "" where all of it is read."""
    message = ""
    try:
        for tensor in opened(directory):
            with np.errstate(all="ignore"):
                tensor.read(0, tensor.row_count)
            for type_ in tensor.block_types:
                if tensor.repacking(type_):
                    tensor.repacked(type_).read(0, tensor.row_count)
    except (InputError, FormatError) as error:
        message = str(error)
    assert "\n" not in message
    return message


def others(values: np.ndarray) -> Iterator[np.ndarray]:
    """The same tensor of other shapes and dtypes."""
    flat = values.reshape(-1)
    yield flat
    yield flat[:1].reshape(())
    yield values[None]
    yield values[None, None, None]
    if values.ndim:
        yield values[:0]
        yield np.concatenate([values, values])
        yield values[: len(values) // 2]
        yield values[..., : values.shape[-1] // 2]
        yield np.ascontiguousarray(values.T)
    for dtype in (np.int64, np.int32, np.uint8, np.int8, np.float16, np.float32, np.bool_):
        if values.dtype != dtype:
            yield np.zeros(values.shape, dtype)
    yield np.frombuffer(b"\xff" * values.nbytes, values.dtype).reshape(values.shape)


def stored(case: str) -> dict[str, np.ndarray]:
    """The arrays of a golden checkpoint."""
    tensors = read_header(GOLDEN / case / "model.safetensors")
    return {tensor.name: tensor.elements(0, prod(tensor.shape)).reshape(tensor.shape) for tensor in tensors}


def copied(case: str, directory: Path) -> Path:
    shutil.copytree(GOLDEN / case, directory, dirs_exist_ok=True)
    return directory


def with_tensors(case: str, directory: Path, tensors: Mapping[str, np.ndarray]) -> Path:
    """A copy whose tensors are these."""
    save_safetensors(directory / "model.safetensors", tensors, read_metadata(GOLDEN / case / "model.safetensors"))
    return directory


@pytest.mark.parametrize("case", CASES)
def test_parts_that_lack_are_refused(case: str, tmp_path: Path) -> None:
    tensors, directory = stored(case), copied(case, tmp_path)
    for name in tensors:
        others = {other: values for other, values in tensors.items() if other != name}
        read_everything(with_tensors(case, directory, others))


@pytest.mark.parametrize("case", CASES)
def test_parts_of_other_shapes_and_dtypes_are_read_or_refused(case: str, tmp_path: Path) -> None:
    tensors, directory = stored(case), copied(case, tmp_path)
    for name, values in tensors.items():
        for other in others(values):
            read_everything(with_tensors(case, directory, {**tensors, name: other}))


@pytest.mark.parametrize("case", CASES)
def test_files_that_end_early_are_refused(case: str, tmp_path: Path) -> None:
    directory = copied(case, tmp_path)
    whole = (directory / "model.safetensors").read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (directory / "model.safetensors").write_bytes(whole[:length])
        assert read_everything(directory)


@pytest.mark.parametrize("case", CONFIGURED)
def test_configurations_of_any_kind_are_read_or_refused(case: str, tmp_path: Path) -> None:
    directory = copied(case, tmp_path)
    config = json.loads((directory / "config.json").read_text())
    for changed in spoiled(config):
        (directory / "config.json").write_text(json.dumps(changed))
        read_everything(directory)


def spoiled(value: Any) -> Iterator[Any]:
    """The same JSON with one value replaced, or one key left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {other: item for other, item in value.items() if other != key}
            for changed in spoiled(inner):
                yield {**value, key: changed}
    yield from WRONG


PACK, INT4 = "compressed-tensors-pack-4-bits", "modelopt-int4"
FIRST = ("config_groups", "group_0", "weights")


@pytest.mark.parametrize(
    ("case", "keys", "value", "message"),
    [
        (PACK, ("format",), "pack-quantised", "'format' 'pack-quantised' is not supported"),
        ("compressed-tensors-mixed", ("config_groups", "group_1", "format"), "x", "'format' 'x' is not supported"),
        (PACK, (*FIRST, "group_size"), 0, "'group_size' '0' is not supported"),
        (PACK, (*FIRST, "num_bits"), 9, "'num_bits' '9' is not supported"),
        (PACK, (*FIRST, "num_bits"), 3, r"shape \[8, 16\], but .* has integers of 3 bits in blocks of 1 x 32"),
        (PACK, (*FIRST, "group_size"), 64, r"has shape \[8, 4\], expected \[8, 2\] for weights \[8, 128\]"),
        (PACK, (*FIRST, "strategy"), "token", "'strategy' 'token' is not supported"),
        (PACK, ("sparsity_config",), {"format": "sparse-24-bitmask"}, "'sparse-24-bitmask' is not supported"),
        ("compressed-tensors-nvfp4", ("transform_config",), {"config_groups": {"u": {}}}, "turns weights at run time"),
        ("compressed-tensors-nvfp4", (*FIRST, "group_size"), 32, "has floats of 4 bits in blocks of 1 x 32"),
        ("compressed-tensors-int-channel", (*FIRST, "type"), "float", "has dtype I8 .* has floats of 8 bits"),
        ("fp8-blocks", ("weight_block_size",), [0, 128], r"'weight_block_size' '\[0, 128\]' is not supported"),
        ("fp8-blocks", ("weight_block_size",), [32, 32], r"has shape \[2, 3\], expected \[1, 3\]"),
        (INT4, ("quant_algo",), "NVFP4_SVD", "'quant_algo' 'NVFP4_SVD' is not supported"),
        (INT4, ("group_size",), 0, "'group_size' '0' is not supported"),
        (INT4, ("group_size",), 64, "2 scales for 64 columns, groups of 64 are 1"),
    ],
)
def test_what_is_not_read_is_named(case: str, keys: tuple[str, ...], value: Any, message: str, tmp_path: Path) -> None:
    directory = copied(case, tmp_path)
    config = json.loads((directory / "config.json").read_text())
    inner = config["quantization_config"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        opened(directory)


@pytest.mark.parametrize("kind", ["Int4TilePackedTo4dTensor", "Int4PlainInt32Tensor", "AffineQuantizedTensor"])
def test_kinds_packed_for_one_kernel_are_named(kind: str, tmp_path: Path) -> None:
    case = "torchao-int4-plain"
    path = copied(case, tmp_path) / "model.safetensors"
    metadata = {key: text.replace("Int4Tensor", kind) for key, text in read_metadata(path).items()}
    save_safetensors(path, stored(case), metadata)
    with pytest.raises(InputError, match=f"type '{kind}' is not supported"):
        opened(tmp_path)


@pytest.mark.parametrize("case", [case for case in CASES if "tensor" not in case.replace("compressed-tensors", "")])
def test_scales_of_half_the_rows_are_refused(case: str, tmp_path: Path) -> None:
    tensors, directory = stored(case), copied(case, tmp_path)
    for name, values in tensors.items():
        if values.ndim and "scale" in name.rsplit(".", 1)[1] and len(values) > 1 and "pre_quant" not in name:
            assert "has shape" in read_everything(with_tensors(case, directory, {**tensors, name: values[::2]}))

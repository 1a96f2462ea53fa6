"""Which scheme a checkpoint is read by, and what is said when by none."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli import plugins, schemes
from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.model.source import open_model
from tests import checkpoints
from tests.schemes import quantized
from tests.schemes.test_gptq import gptq, settings


def test_every_file_is_a_scheme() -> None:
    for name in plugins.names("schemes"):
        scheme = plugins.load("schemes", name).SCHEME
        assert set(scheme.marks) <= set(scheme.endings)
        assert set(scheme.sources) <= set(schemes.sources())


def test_every_scheme_has_a_row_in_the_documentation() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "inputs.md"
    table = page.read_text(encoding="utf-8").split("| scheme |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(plugins.names("schemes"))


@pytest.mark.parametrize(
    ("stated", "told", "hint"),
    [
        ({"quant_method": "gptx", "bits": 4}, "gptx, 4 bits", "'gptq' is the nearest that is read"),
        ({"quant_method": "quip"}, "quip", "read are awq, bitsandbytes, "),
        ({"bits": 4}, "an unnamed method, 4 bits", "read are awq, bitsandbytes, "),
    ],
)
def test_an_unknown_method_is_refused_with_the_nearest(stated: Any, told: str, hint: str, tmp_path: Path) -> None:
    quantized.build(tmp_path, {".codes": np.zeros((8, 64), np.uint8)}, stated)
    with pytest.raises(InputError) as caught:
        open_model(tmp_path)
    assert str(caught.value) == f"{tmp_path}/config.json: the weights are quantized with {told}"
    assert hint in (caught.value.hint or "")


def test_a_name_tells_of_a_method_that_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"quantized with quanto, as tensor '.*\.weight\._data' tells"):
        quantized.opened(tmp_path, {".weight._data": np.zeros((96, 64), np.int8)}, None)


@pytest.mark.parametrize(
    ("name", "stated"),
    [("quantize_config.json", {"bits": 4, "group_size": 32}), ("config.json", None)],
    ids=["a file beside it", "nothing"],
)
def test_a_file_beside_it_or_names_tell_the_method(name: str, stated: Any, tmp_path: Path) -> None:
    files = {} if stated is None else {name: stated}
    quantized.build(tmp_path, gptq(4).parts, None, files=files)
    assert quantized.matrix(open_model(tmp_path)).scheme == "gptq, 4 bits"


def test_a_statement_that_floats_contradict_is_a_warning(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, config={"quantization_config": settings(4)})
    (warning,) = open_model(tmp_path).warnings
    assert "states that the weights are quantized with gptq, 4 bits, but they are floats" in warning


def test_what_is_quantized_is_counted(tmp_path: Path) -> None:
    (warning,) = open_model(quantized.build(tmp_path, gptq(4).parts, settings(4))).warnings
    assert "1 of 21 tensors are quantized already (gptq, 4 bits)" in warning


def test_codes_that_belong_to_nothing_are_refused(tmp_path: Path) -> None:
    parts = {**gptq(4).parts, ".weight": np.zeros((96, 64), np.int8)}
    with pytest.raises(InputError, match=r"holds codes as I8, but is no whole matrix of gptq, 4 bits"):
        quantized.opened(tmp_path, parts, settings(4))


def test_a_file_cut_short_is_refused_when_it_is_read(tmp_path: Path) -> None:
    tensor = quantized.opened(tmp_path, gptq(4).parts, settings(4))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(FormatError, match=r"tensor '.*' needs .* bytes at .*, the file ends after"):
        quantized.read_in_parts(tensor)


def test_a_conv1d_is_stored_as_a_linear_layer(tmp_path: Path) -> None:
    """gpt2 stores (inputs, outputs), but not what was quantized."""
    stored = gptq(4)
    module = "transformer.h.0.mlp.c_fc"
    tensors = {f"{module}.weight": None, f"{module}.bias": np.zeros(96, np.float32)}
    tensors |= {module + ending: values for ending, values in stored.parts.items()}
    config = {"quantization_config": settings(4), "n_inner": 96}
    checkpoints.build("gpt2", tmp_path, tensors=tensors, config=config)
    tensor = quantized.matrix(open_model(tmp_path), "blk.0.ffn_up.weight")
    assert tensor.shape == (96, 64)
    assert np.array_equal(pickle.loads(pickle.dumps(tensor)).read(0, 96), stored.weights)

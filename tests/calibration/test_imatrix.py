"""An importance matrix weighs as in llama.cpp, and the file made says where it came from."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.calibration.imatrix import importance
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import text, u32
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.quantize import Rounding
from tests.formats.test_imatrix import entry, write_dat, write_gguf
from tests.golden.imatrix.make import EXAMPLES, FILES, HERE, MIXES, summary
from tests.golden.recipes.cases import unread


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("mix", MIXES)
def test_the_example_becomes_what_llama_quantize_makes_with_the_same_matrix(
    mix: str, file: str, tmp_path: Path
) -> None:
    golden = json.loads((HERE / "golden.json").read_text())[mix]
    model = open_model(EXAMPLES / "tiny-llama")
    costs, provenance = importance(model, HERE / file)
    made = plan.make(model, recipe.named(mix), costs, provenance)
    writing.write({tmp_path / "out.gguf": made}, Threads(2), rounding=Rounding(costs))
    found = summary(tmp_path / "out.gguf")
    assert golden["tensors"] == found["tensors"]
    assert {**golden["metadata"], "quantize.imatrix.file": file} == found["metadata"]


def model_of(**shapes: tuple[int, ...]) -> Model:
    tensors = [Tensor(f"{name}.weight", shape, GgmlType.F32, unread, name) for name, shape in shapes.items()]
    return Model(Path("model"), None, {}, tensors)


def test_each_tensor_gets_its_matrices(tmp_path: Path) -> None:
    path = write_dat(
        tmp_path / "i.dat", entry("a.weight", 1, [1, 2]), entry("b.weight", 2, [2, 4, 6, 8]), entry("c", 1, [1])
    )
    found, _ = importance(model_of(a=(7, 2), b=(2, 5, 2), d=(3, 3)), path)
    assert {name: values.tolist() for name, values in found.items()} == {
        "a.weight": [[1, 2]],
        "b.weight": [[1, 2], [3, 4]],
    }
    assert all(values.dtype == np.float32 and values.flags.c_contiguous for values in found.values())


def test_another_size_than_the_tensors_is_refused(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "i.dat", entry("a.weight", 1, [1, 2, 3]))
    with pytest.raises(InputError, match=r"i\.dat: 3 values for 'a\.weight', which has 1 x 2 columns") as caught:
        importance(model_of(a=(7, 2)), path)
    assert caught.value.hint == "the importance matrix was made from another model"


def test_only_a_token_embedding_may_go_without(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "i.dat", entry("token_embd.weight", 1, [1]), entry("a.weight", 1, [1, 2]))
    found, _ = importance(model_of(a=(7, 2), token_embd=(9, 2)), path)
    assert list(found) == ["a.weight"]


def test_a_matrix_of_another_model_is_refused(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "i.dat", entry("x", 1, [1]))
    with pytest.raises(InputError, match=r"i\.dat: none of its 1 names is a tensor of model"):
        importance(model_of(a=(7, 2)), path)


@pytest.mark.parametrize("dataset", ["sample.txt", "/home/someone/texts/sample.txt", r"C:\Users\someone\sample.txt"])
def test_no_path_of_a_disk_gets_into_the_metadata(dataset: str, tmp_path: Path) -> None:
    encoded = dataset.encode()
    end = (6).to_bytes(4, "little") + len(encoded).to_bytes(4, "little") + encoded
    _, metadata = importance(model_of(a=(7, 1)), write_dat(tmp_path / "i.dat", entry("a.weight", 1, [1]), end=end))
    assert metadata == {
        "quantize.imatrix.file": text("i.dat"),
        "quantize.imatrix.dataset": text("sample.txt"),
        "quantize.imatrix.entries_count": u32(1),
        "quantize.imatrix.chunks_count": u32(6),
    }


def test_what_the_file_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    tensors = {"a.weight.in_sum2": [[1]], "a.weight.counts": [[1]]}
    path = write_gguf(tmp_path / "i.gguf", tensors, {"general.type": text("imatrix")})
    _, metadata = importance(model_of(a=(7, 1)), path)
    assert list(metadata) == ["quantize.imatrix.file", "quantize.imatrix.entries_count"]

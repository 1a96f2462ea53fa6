"""Nothing infinite is written: refused by tensor, row and column, and no file is left."""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.tensor import Tensor, from_array
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.quantize import BY_ROWS, Rounding
from tests.runtime.synthetic import Decoder, weights, write

NAME = "blk.0.ffn_down.weight"


def model_of(tensor: Tensor) -> Model:
    return Model(Path("model.safetensors"), None, {}, [tensor])


def wide(size: float, columns: int = 256) -> Tensor:
    values = np.ones((4, columns), np.float32)
    values[2, 7] = size
    return from_array(NAME, values)


def convert(model: Model, mix: str, folder: Path, rounding: Rounding = BY_ROWS) -> None:
    made = plan.make(model, recipe.named(mix), None)
    writing.write({folder / "made.gguf": made}, Threads(2), rounding=rounding)


@pytest.mark.parametrize(
    ("mix", "size"),
    [("f16", 1e5), ("f16", -65520.0), ("bf16", 3.4e38), ("q8_0", 1e8), ("q4_0", -1e7), ("q4_1", 1e8), ("q5_k", 1e12),
     ("q6_k", 1e12), ("q6_k", 1e30), ("iq4_nl", 1e25), ("nvfp4", 3e3), ("mxfp4", float(np.finfo(np.float32).max))],
)  # fmt: skip
def test_weights_that_a_type_cannot_hold_are_refused(mix: str, size: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{NAME}': .* at row 2, column 7 is more than {mix} holds") as refused:
        convert(model_of(wide(size)), mix, tmp_path)
    assert f"--tensor '{NAME}=" in str(refused.value.hint)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mix", "size"), [("f16", 65519.0), ("bf16", 1e38), ("f32", 3e38), ("q8_0", 8e6)])
def test_weights_that_it_can_hold_are_written(mix: str, size: float, tmp_path: Path) -> None:
    convert(model_of(wide(size)), mix, tmp_path)
    (tensor,) = read_gguf(tmp_path / "made.gguf").tensors
    assert quants.first_not_finite(GgmlType[mix.upper()], tensor.rows(0, 4).view(np.uint8).reshape(4, -1)) is None


def test_what_a_method_rounds_is_looked_at_too(tmp_path: Path) -> None:
    def results() -> list[tuple[str, np.ndarray]]:
        with np.errstate(over="ignore"):
            return [(NAME, quants.encode(GgmlType.Q8_0, wide(1e8).read(0, 4)))]

    rounding = Rounding(names=frozenset({NAME}), results=results)
    with pytest.raises(InputError, match="at row 2, column 7 is more than q8_0 holds"):
        convert(model_of(wide(1e8)), "q8_0", tmp_path, rounding)
    assert not list(tmp_path.iterdir())


def test_blocks_that_are_copied_are_looked_at(tmp_path: Path) -> None:
    made = write(tmp_path / "made.gguf", Decoder("llama"), weights(Decoder("llama")), lambda name: GgmlType.Q8_0)
    damage(made, "blk.1.ffn_up.weight", 2 * 34 + 0)
    with pytest.raises(InputError, match=r"'blk.1.ffn_up.weight': the scale of block 0 in row 1 is not finite"):
        convert(open_model(made), "q8_0", tmp_path / "..")


def damage(path: Path, name: str, offset: int, pattern: int = 0x7E00) -> None:
    """Put sixteen bits, those of a NaN, at a byte of a tensor."""
    (tensor,) = [tensor for tensor in read_gguf(path).tensors if tensor.name == name]
    data = bytearray(path.read_bytes())
    data[tensor.offset + offset : tensor.offset + offset + 2] = np.uint16(pattern).tobytes()
    path.write_bytes(bytes(data))


def test_the_hint_works(tmp_path: Path) -> None:
    values = wide(1e5).read(0, 4).astype(ml_dtypes.bfloat16)
    mix = replace(recipe.named("f16"), overrides=(recipe.override(f"{NAME}=bf16"),))
    made = plan.make(model_of(wide(1e5)), mix, None)
    writing.write({tmp_path / "made.gguf": made}, Threads(1))
    (tensor,) = read_gguf(tmp_path / "made.gguf").tensors
    assert tensor.rows(0, 4).tobytes() == values.tobytes()

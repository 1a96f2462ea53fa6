"""Encoders become what llama.cpp's converter makes of them, and their folders say how their tokens are pooled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.model.source import open_model
from tests.families.test_converter import DECIDED_BY_THE_RECIPE, as_golden
from tests.families.test_dense import tensors_of
from tests.golden.families.variants import ENCODERS, build, golden

_SPACES = {"tokenizer.ggml.remove_extra_whitespaces": "the tokenizer does, the converter believes another key"}
DELIBERATE = {
    "modernbert": {"modern-bert.attention.layer_norm_epsilon": "without it llama.cpp loads no such file"},
    "xlm_roberta": _SPACES,
    "xlm_roberta-f16": _SPACES,
}
"""By variant, the keys that differ, and why."""
KEPT = ("vocab_", "pooler.", "cls.predictions.", "cls.seq_relationship.", "lm_head.")


@pytest.mark.parametrize("name", ENCODERS)
def test_a_checkpoint_becomes_what_the_converter_makes_of_it(name: str, tmp_path: Path) -> None:
    model, expected = open_model(build(name, tmp_path / name)), golden(name)
    skipped = DECIDED_BY_THE_RECIPE | DELIBERATE.get(name, {}).keys()
    metadata = {key: as_golden(value) for key, value in model.metadata.items() if key not in skipped}
    assert {key: value for key, value in expected["metadata"].items() if key not in skipped} == metadata
    assert list(expected["tensors"]) == [tensor.name for tensor in model.tensors]
    assert expected["tensors"] == tensors_of(model)


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_is_said_of_known_keys(name: str, tmp_path: Path) -> None:
    assert [text for text in open_model(build(name, tmp_path / name)).warnings if "nothing is known" in text] == []


@pytest.mark.parametrize("name", ENCODERS)
def test_a_tensor_that_is_missing_or_has_no_place_is_named(name: str, tmp_path: Path) -> None:
    missing = next(key for key in reversed(golden(name)["stored"]) if not key.startswith(KEPT))
    build(name, tmp_path / "a", tensors={missing: None})
    with pytest.raises(InputError, match=r"tensor '.*' is missing from the checkpoint"):
        open_model(tmp_path / "a")
    build(name, tmp_path / "b", tensors={"made.up.weight": np.zeros((2, 64), np.float32)})
    with pytest.raises(InputError, match=r"tensor 'made\.up\.weight' has no place"):
        open_model(tmp_path / "b")


def test_norms_named_as_in_tensorflow_are_read(tmp_path: Path) -> None:
    plain = {tensor.name: tensor for tensor in open_model(build("bert", tmp_path / "a")).tensors}
    moved: dict[str, np.ndarray | None] = {}
    for name, old in (("weight", "gamma"), ("bias", "beta")):
        stored = f"embeddings.LayerNorm.{name}"
        moved |= {
            stored: None,
            f"embeddings.LayerNorm.{old}": np.asarray(plain[f"token_embd_norm.{name}"].read(0, 1))[0],
        }
    read = {tensor.name: tensor for tensor in open_model(build("bert", tmp_path / "b", tensors=moved)).tensors}
    assert plain.keys() == read.keys()
    assert np.array_equal(plain["token_embd_norm.bias"].read(0, 1), read["token_embd_norm.bias"].read(0, 1))


@pytest.mark.parametrize(
    ("key", "value"), [("position_embedding_type", "relative_key"), ("is_decoder", True), ("hidden_act", "relu")]
)
def test_what_llama_cpp_cannot_compute_is_refused_by_key(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"key '{key}' is "):
        open_model(build("bert", tmp_path, config={key: value}))


def modules(directory: Path, *kinds: str, pooling: dict[str, Any] | None = None) -> Path:
    """The checkpoint at `directory`, with these modules and this pooling."""
    listed = [
        {"path": "1_Pooling" if kind == "Pooling" else "", "type": f"sentence_transformers.models.{kind}"}
        for kind in kinds
    ]
    build("bert", directory)
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    return directory


@pytest.mark.parametrize(
    ("pooling", "number"),
    [
        ({"pooling_mode_mean_tokens": True}, 1), ({"pooling_mode_cls_token": True}, 2),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": False}, 3), ({"pooling_mode": "cls"}, 2),
    ],
)  # fmt: skip
def test_the_pooling_of_a_folder_is_written(pooling: dict[str, Any], number: int, tmp_path: Path) -> None:
    model = open_model(modules(tmp_path / "m", "Transformer", "Pooling", "Normalize", pooling=pooling))
    assert model.metadata["bert.pooling_type"].data == number
    assert not [text for text in model.warnings if "modules.json" in text]


@pytest.mark.parametrize(
    ("kinds", "pooling", "said"),
    [
        (("Transformer", "Pooling"), None, "embeddings are not normalised"),
        (("Transformer", "Pooling", "Dense", "Normalize"), None, "module 'Dense' is not converted"),
        (("Transformer", "Normalize"), None, "does not say how tokens are pooled"),
        (("Transformer", "Pooling", "Normalize"), {"pooling_mode": "max"}, "pooling by 'max' has no number"),
        (
            ("Transformer", "Pooling", "Normalize"),
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            "pooling by 'mean', 'pooling_mode_max_tokens' has no number",
        ),
    ],
)
def test_what_a_file_cannot_say_is_a_warning(
    kinds: tuple[str, ...], pooling: dict[str, Any] | None, said: str, tmp_path: Path
) -> None:
    model = open_model(modules(tmp_path / "m", *kinds, pooling=pooling))
    (warning,) = (text for text in model.warnings if "modules.json" in text)
    assert said in warning
    assert ("bert.pooling_type" in model.metadata) == ("Pooling" in kinds and "no number" not in said)


@pytest.mark.parametrize("listed", ["{}", '[{"type": 1}, 2]', "[", '[{"type": "a.Pooling", "path": "../x"}]'])
def test_modules_that_make_no_sense_are_refused(listed: str, tmp_path: Path) -> None:
    build("bert", tmp_path / "m")
    (tmp_path / "m" / "modules.json").write_text(listed)
    with pytest.raises(FormatError):
        open_model(tmp_path / "m")

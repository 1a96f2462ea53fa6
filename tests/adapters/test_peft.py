"""Adapters in PEFT's files: names and row orders of every family, what the config says, and what is refused."""

import json
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from quantize_cli.adapters.adapter import Adapter, LowRankTerm
from quantize_cli.adapters.merge import merged, read_adapter
from quantize_cli.adapters.peft import write_peft
from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import text
from quantize_cli.model.source import Model, open_model
from tests import checkpoints
from tests.adapters.adapters import ALPHA, adapter_for, assert_same, merged_by_hand
from tests.tokenizers.converted import convert

ROUNDING = 1e-5
"""Products are added up in float32 here and in float64 there."""
QUERY = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.build("llama", tmp_path_factory.mktemp("llama") / "m")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return open_model(checkpoint)


def changed(folder: Path, model: Model, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> Path:
    """An adapter whose files are changed after they are written."""
    write_peft(folder, adapter_for(model), model)
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    settings, factors = json.loads(config.read_text()), load_file(weights)
    change(settings, factors)
    config.write_text(json.dumps(settings))
    save_file(factors, weights)
    return folder


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_what_is_written_reads_back_equal(family: str, tmp_path: Path) -> None:
    model = open_model(checkpoints.build(family, tmp_path / "m"))
    write_peft(tmp_path / "a", adapter_for(model), model)
    assert_same(read_adapter(tmp_path / "a", model), adapter_for(model))


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_a_merge_is_what_the_checkpoint_merged_by_hand_becomes(family: str, tmp_path: Path) -> None:
    checkpoint = checkpoints.build(family, tmp_path / "m")
    model = open_model(checkpoint)
    write_peft(tmp_path / "a", adapter_for(model), model)
    expected = {t.name: t for t in open_model(merged_by_hand(checkpoint, tmp_path / "a", tmp_path / "by hand")).tensors}
    for tensor in merged(model, read_adapter(tmp_path / "a", model)).tensors:
        weights = expected[tensor.name].read(0, tensor.row_count)
        np.testing.assert_allclose(tensor.read(0, tensor.row_count), weights, rtol=0, atol=ROUNDING)


def test_names_are_those_of_the_class_even_where_the_checkpoint_leaves_its_prefix_out(tmp_path: Path) -> None:
    model = open_model(checkpoints.build("llama", tmp_path / "m", prefixed=False))
    write_peft(tmp_path / "a", adapter_for(model), model)
    assert f"{QUERY}.lora_A.weight" in load_file(tmp_path / "a" / "adapter_model.safetensors")


def test_a_gguf_file_gives_the_same_names(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "m.gguf")
    write_peft(tmp_path / "a", adapter_for(model), model)
    write_peft(tmp_path / "b", adapter_for(model), open_model(tmp_path / "m.gguf"))
    first, second = (tmp_path / folder / "adapter_model.safetensors" for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_modules_that_are_not_all_of_their_kind_are_named_in_full(model: Model, tmp_path: Path) -> None:
    whole = adapter_for(model)
    name = "blk.1.attn_q.weight"
    write_peft(tmp_path / "a", Adapter("llama", {name: whole.terms[name]}), model)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.1.self_attn.q_proj"]


def test_other_ranks_and_alphas_become_patterns(model: Model, tmp_path: Path) -> None:
    terms = dict(adapter_for(model).terms)
    name = "blk.0.ffn_up.weight"
    other = adapter_for(model, rank=2).terms[name]
    terms[name] = LowRankTerm(other.a, other.b, 5.0)
    write_peft(tmp_path / "a", Adapter("llama", terms), model)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["rank_pattern"] == {"model.layers.0.mlp.up_proj": 2}
    assert config["alpha_pattern"] == {"model.layers.0.mlp.up_proj": 5.0}
    assert_same(read_adapter(tmp_path / "a", model), Adapter("llama", terms))


def test_a_root_scaled_adapter_is_divided_by_the_root_of_its_rank(model: Model, tmp_path: Path) -> None:
    folder = changed(tmp_path / "a", model, lambda config, _: config.update(use_rslora=True))
    assert read_adapter(folder, model).terms["blk.0.attn_q.weight"].scale == pytest.approx(ALPHA / sqrt(4))


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [("q_proj", 2), ("self_attn.q_proj", 2), ("layers.0.self_attn.q_proj", 1), ("^model.layers.1.self_attn.q_proj", 1)],
)
def test_patterns_are_names_or_their_ends(pattern: str, reached: int, model: Model, tmp_path: Path) -> None:
    folder = changed(tmp_path / "a", model, lambda config, _: config.update(alpha_pattern={pattern: 1}))
    alphas = [term.alpha for term in read_adapter(folder, model).terms.values()]
    assert alphas.count(1.0) == reached


def test_an_adapter_of_the_embedding_is_read(model: Model, tmp_path: Path) -> None:
    embedding = next(tensor for tensor in model.tensors if tensor.name == "token_embd.weight")
    tokens, width = embedding.shape

    def change(config: dict[str, Any], factors: dict[str, np.ndarray]) -> None:
        factors.clear()
        name = "base_model.model.model.embed_tokens.lora_embedding_"
        factors[f"{name}A"] = np.full((4, tokens), 0.5, np.float32)
        factors[f"{name}B"] = np.ones((width, 4), np.float32)

    adapter = read_adapter(changed(tmp_path / "a", model, change), model)
    grown = next(tensor for tensor in merged(model, adapter).tensors if tensor.name == embedding.name)
    np.testing.assert_allclose(grown.read(0, 3), embedding.read(0, 3) + ALPHA / 4 * 4 * 0.5, atol=ROUNDING)


def test_a_state_dict_saved_by_hand_is_read(model: Model, tmp_path: Path) -> None:
    def change(config: dict[str, Any], factors: dict[str, np.ndarray]) -> None:
        for name in list(factors):
            factors[name.replace(".weight", ".default.weight").removeprefix("base_model.model.")] = factors.pop(name)

    assert_same(read_adapter(changed(tmp_path / "a", model, change), model), adapter_for(model))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"), ({"use_dora": True}, "'use_dora'"), ({"bias": "all"}, "'bias'"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save'"), ({"r": 0}, "key 'r' is '0'"),
        ({"r": 5}, "of rank 5, its factors have 4"), ({"lora_alpha": "x"}, "'lora_alpha'"),
        ({"rank_pattern": {"(a+)+$": 4}}, "regular expression"), ({"alpha_pattern": [1]}, "not an object"),
    ],
)  # fmt: skip
def test_what_the_config_asks_for_and_we_do_not_do(
    setting: dict[str, Any], message: str, model: Model, tmp_path: Path
) -> None:
    folder = changed(tmp_path / "a", model, lambda config, _: config.update(setting))
    with pytest.raises(InputError) as error:
        read_adapter(folder, model)
    assert message in str(error.value)
    assert str(folder / "adapter_config.json") in str(error.value)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"base_model.model.lm_head.weight": (2, 2)}, "no factor of a low-rank term"),
        ({f"{QUERY}.lora_magnitude_vector.weight": (2,)}, "no factor of a low-rank term"),
        ({"base_model.model.vision.lora_A.weight": (4, 8)}, "is without 'vision.lora_B'"),
        ({"base_model.model.x.lora_A.weight": (4, 8), "base_model.model.x.lora_B.weight": (8, 4)}, "not in the model"),
        ({f"{QUERY}.lora_A.weight": (4, 8, 1)}, "a factor is a matrix"),
        ({f"{QUERY}.lora_A.weight": (3, 64)}, "its factors have 3 and 4"),
    ],
)
def test_factors_that_fit_nothing(
    added: dict[str, tuple[int, ...]], message: str, model: Model, tmp_path: Path
) -> None:
    arrays = {name: np.ones(shape, np.float32) for name, shape in added.items()}
    folder = changed(tmp_path / "a", model, lambda _, factors: factors.update(arrays))
    with pytest.raises(InputError) as error:
        read_adapter(folder, model)
    assert message in str(error.value)


def test_a_term_of_another_shape_is_refused_when_it_is_merged(model: Model, tmp_path: Path) -> None:
    arrays = {f"{QUERY}.lora_A.weight": np.ones((4, 32), np.float32)}
    folder = changed(tmp_path / "a", model, lambda _, factors: factors.update(arrays))
    with pytest.raises(InputError, match=r"a term of shape \[64, 32\] for .* which has \[64, 64\]"):
        merged(model, read_adapter(folder, model))


def test_numbers_that_are_not_finite_are_refused(model: Model, tmp_path: Path) -> None:
    def change(config: dict[str, Any], factors: dict[str, np.ndarray]) -> None:
        factors[f"{QUERY}.lora_B.weight"][3, 1] = np.nan

    with pytest.raises(InputError, match="nan at row 3, column 1"):
        read_adapter(changed(tmp_path / "a", model, change), model)


def test_pickles_and_folders_without_a_config_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no adapter_config\.json"):
        read_adapter(tmp_path, model)
    write_peft(tmp_path / "a", adapter_for(model), model)
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(FormatError, match="only as a pickle"):
        read_adapter(tmp_path / "a", model)


def test_architectures_without_names_are_refused(model: Model, tmp_path: Path) -> None:
    unknown = Model(model.path, "strange", {"general.architecture": text("strange")}, model.tensors)
    with pytest.raises(InputError, match="modules of architecture 'strange' is not known") as error:
        write_peft(tmp_path / "a", adapter_for(unknown), unknown)
    assert "gguf" in (error.value.hint or "")
    assert not (tmp_path / "a").exists()

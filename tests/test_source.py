"""What a user may name as input, and what is said when it is not what it seems."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import ValueType, array, text
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.model.source import open_model
from tests import checkpoints
from tests.tokenizers.converted import convert


def test_an_unknown_model_type_is_named_with_the_known_ones(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, config={"model_type": "mamba\x1b[2J", "architectures": ["MambaForCausalLM"]})
    with pytest.raises(InputError, match=r"model_type 'mamba\\x1b\[2J' is not supported") as caught:
        open_model(tmp_path)
    assert caught.value.hint is not None
    assert all(family in caught.value.hint for family in checkpoints.FAMILIES)


def test_a_missing_tokenizer_is_told_with_the_files_that_could_be_one(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"tokenizer.model": None})
    with pytest.raises(InputError, match=r"has none of the tokenizer files tokenizer\.model, tokenizer\.json"):
        open_model(tmp_path)


def test_errors_of_files_pass_unchanged(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"config.json": "{"})
    with pytest.raises(FormatError, match=r"config\.json: not json"):
        open_model(tmp_path)


def test_a_weight_file_stands_for_its_directory(tmp_path: Path) -> None:
    directory = checkpoints.build("qwen3", tmp_path / "m")
    whole, file = open_model(directory), open_model(directory / "model.safetensors")
    assert whole.metadata.keys() == file.metadata.keys()
    assert [tensor.name for tensor in whole.tensors] == [tensor.name for tensor in file.tensors]


def test_weights_alone_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    checkpoints.save_safetensors(path, {"b.bias": np.zeros(3, np.float32), "a.weight": np.ones((2, 3), np.float32)})
    model = open_model(path)
    assert model.architecture is None
    assert [tensor.name for tensor in model.tensors] == ["a.weight", "b.bias"]
    assert {key: value.data for key, value in model.metadata.items()} == {"general.name": "adapter"}
    assert "no config.json" in model.warnings[0]


def test_an_architecture_that_is_no_text_is_refused(tmp_path: Path) -> None:
    layout = lay_out({"general.architecture": array(ValueType.STRING, ["llama", "llama"])}, [])
    (tmp_path / "a.gguf").write_bytes(layout.header)
    with pytest.raises(FormatError, match=r"metadata key 'general.architecture' is an array of 2, not a string"):
        open_model(tmp_path / "a.gguf")


def test_a_gguf_file_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    made = convert(checkpoints.build("llama", tmp_path / "m"), tmp_path / "m.gguf")
    model = open_model(tmp_path / "m.gguf")
    assert (model.architecture, model.warnings) == ("llama", ())
    assert list(made.metadata) == list(model.metadata)
    for expected, found in zip(made.tensors, model.tensors, strict=True):
        assert (expected.name, expected.shape) == (found.name, found.shape)
        rows = expected.row_count
        assert np.asarray(expected.read(0, rows), np.float32).tobytes() == found.read(0, rows).tobytes()


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    directory = checkpoints.build("llama", tmp_path / "m")
    model = open_model(directory)
    (directory / "model.safetensors").write_bytes(b"")
    with pytest.raises(FormatError, match="the file ends after 0"):
        model.tensors[0].read(0, 1)


def test_metadata_is_plain_data(tmp_path: Path) -> None:
    model = open_model(checkpoints.build("qwen2", tmp_path / "m"))
    json.dumps({key: value.data for key, value in model.metadata.items()})


def test_a_certificate_is_not_taken_over_but_the_importance_is_still_named(tmp_path: Path) -> None:
    layout = lay_out(
        {
            "general.architecture": text("llama"),
            "quantize.recipe": text("q4_k_m"),
            "quantize.of.another.version": text("x"),
            "quantize.imatrix.file": text("a.imatrix"),
        },
        [],
    )
    (tmp_path / "a.gguf").write_bytes(layout.header)
    assert list(open_model(tmp_path / "a.gguf").metadata) == ["general.architecture", "quantize.imatrix.file"]


@pytest.mark.parametrize("model_type", [None, "my-llama", 7])
def test_a_class_stands_in_for_a_model_type_that_says_nothing(model_type: object, tmp_path: Path) -> None:
    model = open_model(checkpoints.build("qwen2", tmp_path, config={"model_type": model_type}))
    assert model.architecture == "qwen2"
    assert "is not known, taken for 'qwen2', as Qwen2ForCausalLM is" in model.warnings[0]


HALVES = [("llama", "model.embed_tokens.weight"), ("gpt2", "transformer.wte.weight")]


@pytest.mark.parametrize(("family", "embedding"), HALVES)
def test_a_tied_head_stands_for_the_embedding(family: str, embedding: str, tmp_path: Path) -> None:
    tied = {"tie_word_embeddings": True}
    whole = open_model(checkpoints.build(family, tmp_path, config=tied)).tensors
    shape = next(tensor.shape for tensor in whole if tensor.name == "token_embd.weight")
    head = checkpoints.numbers("lm_head.weight", shape)
    checkpoints.build(family, tmp_path, config=tied, tensors={embedding: None, "lm_head.weight": head})
    found = {tensor.name: tensor for tensor in open_model(tmp_path).tensors}
    assert found.keys() == {tensor.name for tensor in whole}
    assert np.array_equal(found["token_embd.weight"].read(0, shape[0]), head)


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize(("family", "embedding"), HALVES)
def test_a_half_that_is_not_tied_is_missed_with_the_key_that_ties(
    family: str, embedding: str, missing: int, tmp_path: Path
) -> None:
    untied = {"tie_word_embeddings": False}
    whole = open_model(checkpoints.build(family, tmp_path / "whole", config=None)).tensors
    shape = next(tensor.shape for tensor in whole if tensor.name == "token_embd.weight")
    halves = {embedding: checkpoints.numbers(embedding, shape), "lm_head.weight": checkpoints.numbers("head", shape)}
    name = list(halves)[missing]
    checkpoints.build(family, tmp_path, config=untied, tensors={**halves, name: None})
    with pytest.raises(
        InputError, match=rf"tensor '{name.partition('.')[2] if missing == 0 else name}' is missing"
    ) as caught:
        open_model(tmp_path)
    assert "tie_word_embeddings: true" in (caught.value.hint or "")


def test_a_model_without_a_head_is_said_to_be_one(tmp_path: Path) -> None:
    stated = {"architectures": ["LlamaModel"]}
    model = open_model(checkpoints.build("llama", tmp_path, config=stated, tensors={"lm_head.weight": None}))
    assert model.warnings[0].startswith("no head is stored, so llama.cpp takes the embedding for one")


def test_a_head_is_missed_where_nothing_says_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tensor 'lm_head\.weight' is missing"):
        open_model(
            checkpoints.build("llama", tmp_path, config={"architectures": None}, tensors={"lm_head.weight": None})
        )


def test_the_whole_file_is_read_and_not_a_stale_index(tmp_path: Path) -> None:
    directory = checkpoints.build("llama", tmp_path)
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    model = open_model(directory)
    assert model.warnings[0].endswith("lists other files, model.safetensors is read as transformers does, and no shard")
    assert len(model.tensors) == 21


def test_weights_beside_the_whole_file_are_named_as_left_out(tmp_path: Path) -> None:
    directory = checkpoints.build("llama", tmp_path)
    (directory / "model-fp16.safetensors").write_bytes(b"")
    assert open_model(directory).warnings[0].endswith("and not 'model-fp16.safetensors'")


@pytest.mark.parametrize("name", ["sha256-4d7a", "m.GGUF"])
def test_a_gguf_file_of_another_name_is_one(name: str, tmp_path: Path) -> None:
    convert(checkpoints.build("llama", tmp_path / "m"), tmp_path / name)
    model = open_model(tmp_path / name)
    assert (model.is_gguf, model.architecture) == (True, "llama")


def test_a_snapshot_of_a_cache_is_named_after_its_repository(tmp_path: Path) -> None:
    place = tmp_path / "models--org--Tiny-Llama-1M" / "snapshots" / ("0123456789" * 4)
    metadata = open_model(checkpoints.build("llama", place)).metadata
    found = {key: metadata[f"general.{key}"].data for key in ("name", "organization", "basename")}
    assert found == {"name": "Tiny Llama 1M", "organization": "Org", "basename": "Tiny-Llama"}


@pytest.mark.parametrize("card", [b"---\nlicense: mit\n---\nna\xefve\n", b"---\na: &a [x]\nlicense: *a\n---\n"])
def test_no_card_is_a_reason_to_refuse_a_model(card: bytes, tmp_path: Path) -> None:
    model = open_model(checkpoints.build("llama", tmp_path, files={"README.md": card}))
    assert ("general.license" in model.metadata) == (not model.warnings)


def test_a_text_in_place_of_a_name_is_not_taken_apart(tmp_path: Path) -> None:
    directory = checkpoints.build("llama", tmp_path / "m", config={"_name_or_path": "a-" * 10_000})
    assert open_model(directory).metadata["general.name"].data == "M"

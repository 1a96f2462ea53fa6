"""A checkpoint's tokens are those of its own tokenizer files, for each kind of tokenizer, and in llama.cpp as well."""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer as Backend

from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests import checkpoints, oracle, vocabularies
from tests.tokenizers import trained
from tests.tokenizers.converted import convert
from tests.tokenizers.test_engine import ATOMS

COUNT = 2000
ADDED = (("<|im_start|>", True), ("<|im_end|>", True), ("<tool>", False), ("two words", False))
_SPM_CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}

Encode = Callable[[str], list[int]]


class Kind(NamedTuple):
    """Files of a tokenizer, how many tokens they have, and what they make of a text."""

    files: dict[str, Any]
    size: int
    own: Encode
    family: str = "llama"


def from_json(style: str, added: bool, both: bool = False) -> Kind:
    more = ADDED if added else ()
    document = trained.document(trained.model(), style, more)
    stored = trained.model() if both else None
    return _with_json({"tokenizer.model": stored, "tokenizer_config.json": _SPM_CONFIG}, document)


def _with_json(files: dict[str, Any], document: dict[str, Any], family: str = "llama") -> Kind:
    backend = Backend.from_str(json.dumps(document))
    files = {"tokenizer.json": json.dumps(document), **files}
    return Kind(
        files, vocabularies.size(document), lambda text: backend.encode(text, add_special_tokens=False).ids, family
    )


def from_model(added: bool, **options: Any) -> Kind:
    stored = trained.model(**options)
    processor = SentencePieceProcessor(model_proto=stored)
    size = processor.vocab_size()
    special_tokens = {name: size + at for at, (name, _) in enumerate(ADDED)} if added else {}
    decoder = {str(size + at): {"content": name, "special": special} for at, (name, special) in enumerate(ADDED)}
    config = {**_SPM_CONFIG, "added_tokens_decoder": decoder} if added else _SPM_CONFIG
    special_tokens |= {"<unk>": 0, "<s>": 1, "</s>": 2}

    def own(text: str) -> list[int]:
        """As transformers does it: each marker is cut out first, the longest of two."""
        found = min(
            (at, -len(name), name)
            for name in (*special_tokens, "")
            if (at := text.find(name) if name else len(text)) >= 0
        )
        at, name = found[0], found[2]
        ids: list[int] = processor.Encode(text[:at]) if at else []
        return [*ids, special_tokens[name], *own(text[at + len(name) :])] if name else ids

    return Kind({"tokenizer.model": stored, "tokenizer_config.json": config}, size + len(ADDED) * added, own)


def byte_level(name: str, added: bool) -> Kind:
    document = vocabularies.byte_level(name, ["<|endoftext|>"])
    for at, (text, special) in enumerate(ADDED if added else ()):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        entry = {"id": vocabularies.size(document), "content": text, "special": special, **flags}
        document["added_tokens"].append(entry)
        assert entry["id"] == document["added_tokens"][0]["id"] + 1 + at
    config = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    return _with_json({"tokenizer_config.json": config}, document, "gpt2")


KINDS: dict[str, Callable[[bool], Kind]] = {
    "json, space prepended": partial(from_json, "prepended"),
    "json, spaces kept": partial(from_json, "spaces kept"),
    "json and model": partial(from_json, "prepended", both=True),
    "model": from_model,
    "model, spaces kept": partial(from_model, add_dummy_prefix=False, allow_whitespace_only_pieces=True),
    "byte level, as gpt-2": partial(byte_level, "gpt-2"),
    "byte level, as llama 3": partial(byte_level, "llama-bpe"),
    "byte level, as smollm": partial(byte_level, "smollm"),
}


def texts(count: int, seed: int = 0) -> Iterator[str]:
    """Made of words of the sample, and of what is unusual."""
    draw = random.Random(seed)
    vocab = trained.SAMPLE.read_text(encoding="utf-8").split(" ")
    atoms = [*ATOMS, *(name for name, _ in ADDED)]
    for _ in range(count):
        parts = [draw.choice((draw.choice(atoms), " " + draw.choice(vocab))) for _ in range(draw.randint(1, 12))]
        yield "".join(parts)


@pytest.mark.parametrize("added", [False, True], ids=["plain", "with added tokens"])
@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_those_of_the_checkpoints_own_tokenizer(name: str, added: bool, tmp_path: Path) -> None:
    kind = KINDS[name](added)
    checkpoint = checkpoints.build(kind.family, tmp_path, config={"vocab_size": kind.size}, files=kind.files)
    model = open_model(checkpoint)
    tokenizer = load_tokenizer(model.metadata)
    for text in texts(COUNT):
        assert (text, kind.own(text)) == (text, tokenizer.encode(text, add_special=False, parse_special=True))
    assert model.warnings == ()


@pytest.mark.parametrize("name", ["json, space prepended", "json, spaces kept", "model, spaces kept"])
def test_the_engine_finds_them_too(name: str, tmp_path: Path) -> None:
    oracle.library()
    kind = KINDS[name](True)
    checkpoint = checkpoints.build(kind.family, tmp_path, config={"vocab_size": kind.size}, files=kind.files)
    convert(checkpoint, tmp_path / "model.gguf")
    engine = oracle.Model(tmp_path / "model.gguf", context=64)
    for text in texts(500, seed=1):
        assert (text, kind.own(text)) == (text, engine.tokenize(text, add_special=False, parse_special=True))


def test_a_space_that_is_put_first_only_where_there_is_none_is_warned_of(tmp_path: Path) -> None:
    kind = from_json("metaspace", added=False)
    checkpoint = checkpoints.build("llama", tmp_path, config={"vocab_size": kind.size}, files=kind.files)
    model = open_model(checkpoint)
    tokenizer = load_tokenizer(model.metadata)
    for text in filter(lambda text: text.lstrip(" ▁") == text and "<" not in text, texts(COUNT)):
        assert (text, kind.own(text)) == (text, tokenizer.encode(text, add_special=False))
    (warning,) = model.warnings
    assert "it keeps all spaces, and puts one first also where there is one" in warning


def test_either_file_gives_the_same_pieces(tmp_path: Path) -> None:
    found = []
    for at, kind in enumerate((from_json("prepended", added=False), from_model(added=False))):
        checkpoints.build("llama", tmp_path / str(at), config={"vocab_size": kind.size}, files=kind.files)
        metadata = open_model(tmp_path / str(at)).metadata
        found.append([metadata[f"tokenizer.ggml.{key}"].data for key in ("tokens", "scores", "token_type")])
    assert found[0] == found[1]

"""Texts and JSON lines become chunks of equal length, of which the right tokens count."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.errors import InputError, UsageError
from quantize_cli.evaluation.corpus import Reading, read_chunks
from quantize_cli.formats.gguf.layout import text
from quantize_cli.model.chat_templates import KEY
from quantize_cli.model.source import Model, open_model
from quantize_cli.tokenizers import Tokenizer, load_tokenizer
from quantize_cli.train.data.documents import Document, text_document
from quantize_cli.train.data.examples import Examples
from quantize_cli.train.data.packing import Packing, packing
from quantize_cli.train.data.reading import Cutting, read_examples
from tests.cli.console import EXAMPLES, MODEL

BOS, EOS = 1, 2
TEMPLATE = """\
{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}
{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""
SAID = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A cat."}]
HALF = Cutting(context=16, held_out=0.5)


@pytest.fixture(scope="module")
def model() -> Model:
    """The example, which also chats."""
    plain = open_model(MODEL)
    return replace(plain, metadata={**plain.metadata, KEY: text(TEMPLATE)})


@pytest.fixture(scope="module")
def tokenizer(model: Model) -> Tokenizer:
    return load_tokenizer(model.metadata)


def lines(folder: Path, *values: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, values)))
    return path


def everything(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """All chunks, the held-out ones last."""
    tokens = np.concatenate([examples.tokens, examples.held_tokens])
    return tokens, np.concatenate([examples.counted, examples.held_counted])


def test_a_plain_text_is_cut_as_for_evaluation(model: Model, tokenizer: Tokenizer) -> None:
    path = EXAMPLES / "sample.txt"
    expected = read_chunks(path, tokenizer, 64)
    examples = read_examples([path], model, Cutting(64, held_out=0.1, seed=1))
    assert len(examples.held_tokens) == round(0.1 * len(expected))
    assert sorted(map(tuple, everything(examples)[0].tolist())) == sorted(map(tuple, expected.tolist()))
    assert (everything(examples)[1] == (np.arange(64) > 0)).all()
    assert examples.digest == read_examples([path], model, Cutting(64, held_out=0.1, seed=1)).digest
    assert examples.digest != read_examples([path], model, Cutting(64, held_out=0.1, seed=2)).digest


def test_texts_of_lines_are_joined_between_their_ends_and_none_is_lost(
    model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = ["Once upon a time there was a cat.", "It slept.", "The end came on a Sunday, and it slept."]
    tokens, counted = everything(read_examples([lines(tmp_path, *({"text": t} for t in texts))], model, HALF))
    assert (tokens[:, 0] == BOS).all()
    assert not counted[tokens == BOS].any()
    kept = sorted(token for row, mask in zip(tokens, counted, strict=True) for token in row[mask])
    assert kept == sorted(token for t in texts for token in [*tokenizer.encode(t, add_special=False), EOS])


def test_conversations_are_kept_whole_and_only_answers_count(
    model: Model, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = lines(tmp_path, *[{"messages": SAID}] * 6)
    tokens, counted = everything(read_examples([path], model, Cutting(64, held_out=0.5)))
    whole = tokenizer.encode("user: Who are you?\nassistant: A cat.\n</s>", add_special=True, parse_special=True)
    each = 64 // len(whole)
    assert len(tokens) == -(-6 // each)
    for row, mask in zip(tokens, counted, strict=True):
        assert row[: len(whole)].tolist() == whole
        assert tokenizer.decode(row[: len(whole)][mask[: len(whole)]].tolist()).strip() == "A cat."
        assert row[mask][-1] == EOS
    assert (tokens == EOS)[counted].sum() == 6


def test_a_conversation_that_does_not_fit_is_cut_and_that_is_said(model: Model, tmp_path: Path) -> None:
    said: list[str] = []
    path = lines(tmp_path, *[{"messages": [SAID[0], {"role": "assistant", "content": "A cat. " * 20}]}] * 2)
    tokens, counted = everything(read_examples([path], model, HALF, Reading(notice=said.append)))
    assert said == ["2 of 2 conversations are longer than 16 tokens and are cut"]
    assert (tokens[:, 0] == BOS).all()
    assert counted.any(axis=1).all()


def test_texts_and_conversations_may_share_a_file(model: Model, tmp_path: Path) -> None:
    path = lines(tmp_path, {"text": "a cat"}, {"messages": SAID}, name="DATA.NDJSON")
    assert len(everything(read_examples([path], model, Cutting(64, held_out=0.5)))[0]) == 2


def test_control_tokens_in_a_text_are_letters_and_many_are_told_of(model: Model, tmp_path: Path) -> None:
    said: list[str] = []
    path = lines(tmp_path, *[{"text": "a cat</s>"}] * 12)
    tokens, _ = everything(read_examples([path], model, HALF, Reading(notice=said.append)))
    assert len(said) == 1
    assert "data.jsonl: holds '</s>' 12 times, read as letters" in said[0]
    special, _ = everything(read_examples([path], model, HALF, Reading(special=True)))
    assert (special == EOS).sum() > (tokens == EOS).sum()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.jsonl", r"a\.jsonl: holds nothing to learn from"),
        ("\n\n", "a.jsonl", r"a\.jsonl: holds nothing to learn from"),
        ('{"text": "a"}\n{"text": 1}', "a.jsonl", r"a\.jsonl: line 2: 'text' is a number"),
        ('{"text": "a"}', "a.jsonl", "the data fill 1 chunk, of which 1 would be held out"),
        ('{"text": "a"}', "a.json", r"a\.json: neither a text nor json lines"),
        ("a cat", "a.txt", r"a\.txt: the text is \d+ tokens long, 32 are needed"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "a.jsonl", "line 1 holds no message of the assistant"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    content: str, name: str, message: str, model: Model, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_examples([path], model, HALF)


def test_messages_need_a_model_that_chats(tmp_path: Path) -> None:
    path = lines(tmp_path, {"text": "a"}, {"messages": SAID})
    with pytest.raises(InputError, match=r"data\.jsonl: line 2 holds messages, but .* has no chat template"):
        read_examples([path], open_model(MODEL), HALF)


def test_a_token_beyond_the_embedding_is_named(model: Model, tmp_path: Path) -> None:
    cut = [tensor.row_range(0, 5) if tensor.name == "token_embd.weight" else tensor for tensor in model.tensors]
    path = lines(tmp_path, *[{"text": "a cat slept on a mat"}] * 9)
    with pytest.raises(InputError, match=r"token \d+ of the data is not in an embedding of 5 rows"):
        read_examples([path], replace(model, tensors=cut), HALF)


@pytest.mark.parametrize(
    ("paths", "cutting", "message"),
    [
        ([], HALF, "there are no data"),
        ([MODEL, MODEL], HALF, "is given twice"),
        ([MODEL], Cutting(context=4), "a context of 4 tokens is too short"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    paths: Sequence[Path], cutting: Cutting, message: str, model: Model
) -> None:
    with pytest.raises(UsageError, match=message):
        read_examples(paths, model, cutting)


def document(first: int, size: int) -> Document:
    return Document(np.arange(first, first + size, dtype=np.int32), np.ones(size, bool))


@pytest.mark.parametrize("first", [None, 7])
def test_cutting_loses_nothing(first: int | None) -> None:
    chunks = Packing(8, first, padding=0).cut([document(100, 5), document(200, 20)])
    tokens = np.concatenate([chunk.tokens[1 if first else 0 :] for chunk in chunks])
    assert tokens[:25].tolist() == [*range(100, 105), *range(200, 220)]
    assert not tokens[25:].any()
    assert {chunk.tokens.size for chunk in chunks} == {8}
    assert not any(chunk.counted[0] for chunk in chunks)
    assert not np.concatenate([chunk.counted for chunk in chunks])[-3:].any()


def test_no_room_is_left_that_a_later_conversation_fills() -> None:
    sizes = [6, 5, 2, 3, 8, 1]
    chunks = Packing(8, None, padding=0).pack([document(100 * n, size) for n, size in enumerate(sizes, 1)])
    assert [chunk.tokens.tolist() for chunk in chunks] == [
        [*range(100, 106), 300, 301],
        [*range(200, 205), *range(400, 403)],
        [*range(500, 508)],
        [600, *[0] * 7],
    ]
    assert chunks[3].counted.sum() == 0


def test_many_conversations_are_each_there_once() -> None:
    sizes = np.random.default_rng(0).integers(1, 33, 600)
    documents = [document(1000 * n, size) for n, size in enumerate(sizes, 1)]
    chunks = Packing(32, None, padding=0).pack(documents)
    tokens = np.concatenate([chunk.tokens for chunk in chunks])
    assert sorted(tokens[tokens > 0]) == sorted(np.concatenate([d.tokens for d in documents]))
    assert tokens.size < 1.1 * sizes.sum()


def test_a_long_conversation_is_cut_into_what_has_something_to_learn() -> None:
    said = Document(np.arange(100, 130, dtype=np.int32), np.arange(30) >= 12)
    chunks = Packing(8, None, padding=0).pack([said, document(200, 2)])
    assert [chunk.tokens.tolist() for chunk in chunks] == [
        [*range(108, 116)],
        [*range(116, 124)],
        [*range(124, 130), 200, 201],
    ]
    assert [chunk.tokens[chunk.counted].tolist() for chunk in chunks] == [
        [*range(112, 116)],
        [*range(117, 124)],
        [*range(125, 130), 200, 201],
    ]


def test_a_vocabulary_without_ends_is_padded_and_joined_without(tokenizer: Tokenizer) -> None:
    bare = replace(tokenizer, bos_id=None, eos_id=None)
    assert packing(bare, 8) == Packing(8, None, 0)
    assert text_document("a cat", bare).tokens.tolist() == bare.encode("a cat")
    assert text_document("a cat", bare).counted.all()
    ending = replace(tokenizer, adds_eos=True)
    assert text_document("a cat", ending).tokens.tolist() == text_document("a cat", tokenizer).tokens.tolist()

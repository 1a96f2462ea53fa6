"""tokenizer.model is read as SentencePiece reads it, and what is none is refused."""

import random
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.sentencepiece_model import SentencePieceModel, read_sentencepiece_model
from tests import vocabularies
from tests.tokenizers import trained


def read(stored: bytes, folder: Path) -> SentencePieceModel:
    path = folder / "tokenizer.model"
    path.write_bytes(stored)
    return read_sentencepiece_model(path)


def test_pieces_are_those_that_sentencepiece_reads(tmp_path: Path) -> None:
    stored = trained.model(400, user_defined_symbols=("<table>", "▁▁"))
    processor = SentencePieceProcessor(model_proto=stored)
    expected = [(processor.IdToPiece(token), processor.GetScore(token)) for token in range(processor.vocab_size())]
    assert expected == [(piece.text, piece.score) for piece in read(stored, tmp_path).pieces]


def test_types_are_told_apart(tmp_path: Path) -> None:
    pieces = read(trained.model(400, user_defined_symbols=("<table>", "▁▁")), tmp_path).pieces
    assert [piece.type for piece in pieces[:6]] == [2, 3, 3, 4, 4, 6]
    assert {piece.type for piece in pieces[5 + 256 :]} == {1}


@pytest.mark.parametrize(("kind", "named"), [("unigram", "unigram"), ("bpe", "BPE"), ("char", "character")])
def test_the_kind_is_told(kind: str, named: str, tmp_path: Path) -> None:
    assert read(trained.model(400, model_type=kind), tmp_path).kind == named


@pytest.mark.parametrize("truth", [True, False])
def test_what_is_done_with_spaces_is_told(truth: bool, tmp_path: Path) -> None:
    found = read(trained.model(400, add_dummy_prefix=truth, remove_extra_whitespaces=not truth), tmp_path)
    assert found.adds_space == truth


@pytest.mark.parametrize("stored", [b"", b"\x0a", b"\xff" * 100, b"\x0a\x05\x0a\x09abc", b"\x0b\x00", b"\x12\x00"])
def test_what_is_no_model_is_refused(stored: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=rf"tokenizer\.model: not a sentencepiece model of {len(stored)} bytes"):
        read(stored, tmp_path)


def test_a_piece_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="piece 1 is not utf-8"):
        read(b"\x0a\x03\x0a\x01a" + b"\x0a\x08\x0a\x01\xff\x15\0\0\0\0", tmp_path)


def test_damage_is_refused_or_read(tmp_path: Path) -> None:
    draw, stored = random.Random(0), vocabularies.SENTENCEPIECE.read_bytes()
    for _ in range(300):
        damaged = bytearray(stored[: draw.randint(1, len(stored))])
        for _ in range(draw.randint(0, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            assert read(bytes(damaged), tmp_path).pieces
        except FormatError as error:
            assert str(error).startswith(str(tmp_path))  # noqa: PT017

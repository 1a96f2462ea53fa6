"""SentencePiece: the order of joining, bytes for what has no piece, and what a file must say."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.gguf.layout import Value, ValueType, array, flag, text, u32
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from quantize_cli.tokenizers.vocabulary.gguf_keys import BYTE, CONTROL, NORMAL, UNKNOWN
from quantize_cli.tokenizers.vocabulary.sentencepiece_bpe import merge_symbols
from tests import checkpoints


def metadata_of(pieces: Mapping[str, float], **keys: Value) -> dict[str, Value]:
    """A vocabulary of <unk>, <s>, </s>, all bytes, and these pieces with these scores."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    return {
        "tokenizer.ggml.model": text("llama"),
        "tokenizer.ggml.tokens": array(ValueType.STRING, texts),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [0.0] * 259 + list(pieces.values())),
        "tokenizer.ggml.token_type": array(ValueType.INT32, types),
        **{f"tokenizer.ggml.{key}": value for key, value in keys.items()},
    }


@pytest.mark.parametrize(
    ("pieces", "word", "expected"),
    [
        ({"ab": -1.0, "bc": -2.0}, "abc", ["ab", "c"]),
        ({"ab": -2.0, "bc": -1.0}, "abc", ["a", "bc"]),
        ({"aa": -1.0}, "aaa", ["aa", "a"]),
        ({"aa": -1.0, "aaa": -1.0}, "aaaa", ["aaa", "a"]),
        ({"ab": -1.0, "abc": -3.0, "cd": -2.0}, "abcd", ["ab", "cd"]),
    ],
)
def test_the_best_score_is_joined_first_and_the_leftmost_of_equals(
    pieces: dict[str, float], word: str, expected: list[str]
) -> None:
    ids = {text: token for token, text in enumerate(pieces)}
    assert expected == merge_symbols(word, ids, tuple(pieces.values()))


def test_pieces_that_reach_over_a_space_are_found() -> None:
    pieces = {"a": 0.0, "▁": 0.0, "b": 0.0, "a▁": -1.0, "a▁b": -2.0}
    tokenizer = load_tokenizer(metadata_of(pieces, add_space_prefix=flag(False)))
    assert tokenizer.encode("a b", add_special=False) == [263]


def test_what_has_no_piece_is_spelled_in_bytes() -> None:
    tokenizer = load_tokenizer(metadata_of({"▁": 0.0}))
    assert tokenizer.encode("é") == [1, 259, 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.decode(tokenizer.encode("é")) == "é"
    assert tokenizer.decode_bytes([1, 259, 3 + 0xC3]) == b" \xc3"
    assert tokenizer.decode([259, 3 + 0xC3]) == "\ufffd"


def test_the_file_says_what_is_added() -> None:
    pieces = {"▁": 0.0, "a": 0.0}
    assert load_tokenizer(metadata_of(pieces)).encode("a") == [1, 259, 260]
    changed = metadata_of(pieces, add_bos_token=flag(False), add_eos_token=flag(True), add_space_prefix=flag(False))
    assert load_tokenizer(changed).encode("a") == [260, 2]
    renumbered_warnings = load_tokenizer(metadata_of(pieces, bos_token_id=u32(2), eos_token_id=u32(9999)))
    assert (renumbered_warnings.bos_id, renumbered_warnings.eos_id) == (2, 2)


def test_markers_are_read_only_on_request() -> None:
    tokenizer = load_tokenizer(metadata_of({"▁": 0.0, "a": 0.0, "<": 0.0, "s": 0.0, ">": 0.0}))
    assert 1 not in tokenizer.encode("a<s>a", add_special=False)
    assert tokenizer.encode("a<s>a", add_special=False, parse_special=True) == [259, 260, 1, 259, 260]


def test_empty_text_has_only_what_is_added() -> None:
    tokenizer = load_tokenizer(metadata_of({"▁": 0.0}))
    assert (tokenizer.encode(""), tokenizer.encode("", add_special=False)) == ([1], [])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"tokenizer.ggml.model": None}, r"'tokenizer\.ggml\.model' is missing"),
        ({"tokenizer.ggml.model": text("rwkv")}, "tokenizer 'rwkv' is not supported"),
        ({"tokenizer.ggml.tokens": None}, r"'tokenizer\.ggml\.tokens' is missing"),
        ({"tokenizer.ggml.tokens": text("a")}, r"'tokenizer\.ggml\.tokens' is missing or no array"),
        ({"tokenizer.ggml.scores": array(ValueType.FLOAT32, [0.0])}, "has 1 entries for 260 tokens"),
        ({"tokenizer.ggml.token_type": array(ValueType.INT32, [BYTE] * 260)}, "byte token '<unk>' is not spelled"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(broken: dict[str, Value | None], message: str) -> None:
    metadata = {**metadata_of({"▁": 0.0}), **broken}
    with pytest.raises(InputError, match=message):
        load_tokenizer({key: value for key, value in metadata.items() if value is not None})


def test_a_model_that_is_none_is_named(tmp_path: Path) -> None:
    checkpoints.build("llama", tmp_path, files={"tokenizer.model": b"\xff" * 100})
    with pytest.raises(FormatError, match=r"tokenizer\.model: not a sentencepiece model of 100 bytes"):
        open_model(tmp_path)


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    tokenizer = load_tokenizer(metadata_of({"▁": 0.0}, add_space_prefix=flag(False)))
    assert tokenizer.encode("\ud800") == [1, 3 + ord("?")]


def test_a_byte_that_is_no_text_is_itself() -> None:
    tokenizer = load_tokenizer(metadata_of({"▁": 0.0}, add_space_prefix=flag(False)))
    assert tokenizer.encode("\udc80") == [1, 3 + 0x80]

"""Saved predictions of both kinds are read as they were written; damaged and hostile files are refused."""

import hashlib
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.formats.errors import FormatError
from quantize_cli.formats.llama_logits import read_llama_logits
from quantize_cli.formats.reference import (
    ReferenceHeader,
    chunk_nbytes,
    encode_chunk,
    encode_header,
    read_reference,
    row_type,
)

VOCABULARY, CONTEXT, CHUNKS = 300, 9, 3
SCORED = CONTEXT - CONTEXT // 2 - 1


def header(vocabulary: int = VOCABULARY) -> ReferenceHeader:
    tokens = np.random.default_rng(1).integers(0, vocabulary, (CHUNKS, CONTEXT), dtype=np.int32)
    return ReferenceHeader("a model", vocabulary, b"v" * 32, (("a.txt", 1), ("b.txt", 2)), tokens)


def logits(vocabulary: int = VOCABULARY) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 4, (CHUNKS, SCORED, vocabulary)).astype(np.float32)


def came(about: ReferenceHeader) -> np.ndarray:
    return about.tokens[:, CONTEXT // 2 + 1 :]


def content(vocabulary: int = VOCABULARY) -> bytes:
    about = header(vocabulary)
    chunks = [encode_chunk(*each) for each in zip(logits(vocabulary), came(about), strict=True)]
    return encode_header(about) + b"".join(chunks)


def log_probabilities(values: np.ndarray) -> np.ndarray:
    exact = values.astype(np.float64)
    exact -= exact.max(axis=-1, keepdims=True)
    return exact - np.log(np.exp(exact).sum(axis=-1, keepdims=True))


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "saved"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("vocabulary", [2, 3, 64, 65, 66, 300])
def test_what_was_predicted_is_read_again_within_half_a_step(vocabulary: int, tmp_path: Path) -> None:
    file = read_reference(written(tmp_path, content(vocabulary)))
    expected = log_probabilities(logits(vocabulary))
    for chunk in range(CHUNKS):
        rows = file.rows(chunk)
        assert rows.half_steps is not None
        assert rows.exact is not None
        assert rows.nll is not None
        error = np.abs(rows.logits - expected[chunk])
        assert (error <= 2 * rows.half_steps[:, None] + 1e-6).all()
        assert np.take_along_axis(error, rows.exact, axis=1).max() < 1e-6
        assert (rows.half_steps < 5e-4).all()
        tokens = came(file.header)[chunk]
        assert rows.nll == pytest.approx(-expected[chunk][np.arange(SCORED), tokens], rel=1e-6)
        assert np.exp(rows.logits.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_the_header_says_what_it_is_about(tmp_path: Path) -> None:
    found, expected = read_reference(written(tmp_path, content())).header, header()
    assert (found.model, found.vocabulary, found.digest, found.texts) == ("a model", 300, b"v" * 32, expected.texts)
    assert np.array_equal(found.tokens, expected.tokens)
    assert (found.context, found.scored) == (CONTEXT, SCORED)


def sealed(data: bytes) -> bytes:
    """A header whose checksum is right whatever it says."""
    return data + hashlib.sha256(data).digest()


def fixed(version: int = 1, context: int = 9, vocabulary: int = 300, chunks: int = 3, texts: int = 0) -> bytes:
    exact = min(64, vocabulary - 1) if vocabulary else 0
    return struct.pack("<8s6I32s", b"QUANTREF", version, context, vocabulary, chunks, texts, exact, b"")


def tokens(value: int = 0) -> bytes:
    return np.full((3, 9), value, "<i4").tobytes()


NO_NAME, MANY = struct.pack("<I", 0), (1 << 32) - 1
TEXT = struct.pack("<II", 3, 0)
HOSTILE = {
    "empty": (b"", "the header of 64 bytes at byte 0, the file ends at 0"),
    "magic": (b"WRONGREF" + b"\0" * 56, "not a saved reference"),
    "version": (fixed(version=2), "version 2 of the format, only 1 is known"),
    "no context": (fixed(context=0), "a context of 0,"),
    "no vocabulary": (fixed(vocabulary=0), "a vocabulary of 0"),
    "vocabulary beyond all": (fixed(vocabulary=MANY), "a vocabulary of 4294967295"),
    "no chunks": (fixed(chunks=0), "0 chunks"),
    "counts beyond the file": (fixed(chunks=MANY, context=MANY), "the texts and tokens of"),
    "texts beyond the file": (fixed(texts=MANY), "the texts and tokens of"),
    "long name": (fixed() + struct.pack("<I", MANY) + tokens(), "the model's name of 4294967295 bytes at byte 68"),
    "name": (fixed() + struct.pack("<I1s", 1, b"\xff") + tokens(), "the model's name is not UTF-8 at its byte 0"),
    "checksum": (fixed(texts=1) + NO_NAME + TEXT + tokens() + b"\0" * 32, "the header is damaged"),
    "chunks of texts": (sealed(fixed() + NO_NAME + tokens()), "the chunks of its texts do not add up to 3"),
    "token": (sealed(fixed(texts=1) + NO_NAME + TEXT + tokens(300)), "a token outside of a vocabulary of 300"),
    "negative token": (sealed(fixed(texts=1) + NO_NAME + TEXT + tokens(-1)), "a token outside of"),
    "no rows": (sealed(fixed(texts=1) + NO_NAME + TEXT + tokens()), "3 chunks end at byte"),
    "rows beyond the file": (sealed(fixed(texts=1, vocabulary=1 << 24) + NO_NAME + TEXT + tokens()), "3 chunks end at"),
    "truncated": (content()[:-1], "3 chunks end at byte"),
    "too long": (content() + b"\0", "3 chunks end at byte"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused(name: str, tmp_path: Path) -> None:
    data, message = HOSTILE[name]
    path = written(tmp_path, data)
    with pytest.raises(FormatError) as caught:
        read_reference(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def spoiled(change: Callable[[np.ndarray], None]) -> bytes:
    """The content with rows of its first chunk changed and the checksum made right."""
    data, start = content(), len(encode_header(header()))
    stop = start + chunk_nbytes(header())
    rows = np.frombuffer(data[start + 4 : stop], row_type(VOCABULARY)).copy()
    change(rows)
    return data[:start] + struct.pack("<I", zlib.crc32(rows.tobytes())) + rows.tobytes() + data[stop:]


SPOILED: dict[str, tuple[Callable[[np.ndarray], None], str]] = {
    "nan": (lambda rows: rows["low"].fill(np.nan), "a low that is not a finite number"),
    "infinite": (lambda rows: rows["tail"].fill(np.inf), "a tail that is not a finite number"),
    "huge": (lambda rows: rows["log_probability"].fill(3e38), "a log_probability that is not a finite number"),
    "negative step": (lambda rows: rows["step"].fill(-1), "a negative step or nll"),
    "token": (lambda rows: rows["token"].__setitem__((0, 0), 300), "or one outside of 300"),
    "token twice": (lambda rows: rows["token"].fill(7), "names a token twice"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_rows_that_make_no_sense_are_refused(name: str, tmp_path: Path) -> None:
    change, message = SPOILED[name]
    file = read_reference(written(tmp_path, spoiled(change)))
    with pytest.raises(FormatError, match=f"chunk 0 .*{message}"):
        file.rows(0)
    file.rows(1)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray(content())
    data[-1] ^= 1
    with pytest.raises(FormatError, match="chunk 2 is damaged"):
        read_reference(written(tmp_path, bytes(data))).rows(2)


def llama(context: int = 9, vocabulary: int = 3, chunks: int = 1, token: int = 0, step: float = 1e-5) -> bytes:
    """As llama-perplexity writes it; `code` 0, 65535 and 100 in each row."""
    head = struct.pack("<8sIii", b"_logits_", context, vocabulary, chunks)
    row = struct.pack("<ff4H", step, -17.0, 0, 65535, 100, 9)
    return head + np.full(chunks * context, token, "<i4").tobytes() + row * (chunks * (context - context // 2 - 1))


def test_llama_cpps_rows_are_scale_and_codes(tmp_path: Path) -> None:
    file = read_llama_logits(written(tmp_path, llama(token=1, step=16 / 65535)))
    rows = file.rows(0)
    assert rows.are_log_probabilities
    assert rows.logits.shape == (4, 3)
    assert rows.logits[0] == pytest.approx([-1e4, -1, -1e4])
    assert rows.nll == pytest.approx([1, 1, 1, 1])


HOSTILE_LLAMA = {
    "empty": (b"", "not a file of llama-perplexity's"),
    "magic only": (b"_logits_", "not a file of llama-perplexity's"),
    "no context": (llama(context=0), "a context of 0,"),
    "negative vocabulary": (llama()[:12] + struct.pack("<i", -3) + llama()[16:], "a vocabulary of -3"),
    "large vocabulary": (llama()[:12] + struct.pack("<i", 0x7FFFFFFF) + llama()[16:], "a vocabulary of 2147483647"),
    "negative chunks": (llama()[:16] + struct.pack("<i", -1) + llama()[20:], "-1 chunks make no reference"),
    "counts beyond the file": (llama()[:16] + struct.pack("<i", 1 << 30) + llama()[20:], "end at byte"),
    "truncated": (llama()[:-1], "end at byte"),
    "token": (llama(token=3), "a token outside of a vocabulary of 3"),
    "negative token": (llama(token=-1), "a token outside of a vocabulary of 3"),
}


@pytest.mark.parametrize("name", HOSTILE_LLAMA)
def test_a_hostile_file_of_llama_cpp_is_refused(name: str, tmp_path: Path) -> None:
    data, message = HOSTILE_LLAMA[name]
    path = written(tmp_path, data)
    with pytest.raises(FormatError) as caught:
        read_llama_logits(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(("step", "message"), [
    (float("nan"), "not finite"), (float("inf"), "not finite"), (-1.0, "negative or not finite"),
    (1.0, "probabilities above one"),
])  # fmt: skip
def test_scales_of_llama_cpp_that_make_no_sense_are_refused(step: float, message: str, tmp_path: Path) -> None:
    file = read_llama_logits(written(tmp_path, llama(step=step)))
    with pytest.raises(FormatError, match=message):
        file.rows(0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_reference, read_llama_logits):
        with pytest.raises(FormatError, match=r"absent: no such file"):
            read(tmp_path / "absent")


def test_a_step_beyond_float32_is_refused_without_a_warning(tmp_path: Path) -> None:
    row = struct.pack("<ff2H", 3e38, 0, 1, 1)
    path = written(tmp_path, struct.pack("<8sIii", b"_logits_", 5, 2, 1) + struct.pack("<5i", *[0] * 5) + 2 * row)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match="chunk 0 holds probabilities above one"):
            read_llama_logits(path).rows(0)

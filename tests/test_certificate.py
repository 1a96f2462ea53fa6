"""Claims go into metadata and come back; what no certificate may hold is refused in one line."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantize_cli.certificate import statement
from quantize_cli.certificate.statement import Calibration, Certificate, Evaluation, Figure, Training
from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value, ValueType, array, f32, text, u32
from quantize_cli.formats.gguf.writer import lay_out

DIGESTS = tuple(letter * 64 for letter in "abcd")
WHOLE = Certificate(
    version="0.1.0",
    recipe="q4_k_m",
    method="imatrix",
    source=DIGESTS[0],
    tensors=DIGESTS[1],
    calibration=Calibration("calibration.txt", DIGESTS[2], tokens=100_000, context=512),
    evaluation=Evaluation(
        "wiki.test.txt", DIGESTS[3], 512, 80,
        Figure(0.0123, 0.0111, 0.0137), Figure(1.0065, 0.998, 1.0128), Figure(0.95, 0.93, 0.97),
    ),
)  # fmt: skip
LARGEST_NBYTES = 1200
TRAINED = replace(
    WHOLE,
    method="gptq, efficientqat 1400 steps",
    training=Training("wiki.train.txt", DIGESTS[2], "efficientqat", steps=1400, tokens=1_433_600),
)


@pytest.mark.parametrize("parts", [(), ("calibration",), ("evaluation",), ("calibration", "evaluation")])
def test_claims_come_back(parts: tuple[str, ...]) -> None:
    missing: dict[str, Any] = dict.fromkeys({"calibration", "evaluation"} - set(parts))
    claims = replace(WHOLE, **missing)
    assert statement.read("a.gguf", {"general.name": text("x"), **claims.metadata()}) == claims


def test_what_was_trained_says_so() -> None:
    assert statement.read("a.gguf", TRAINED.metadata()) == TRAINED
    keys = [key for key in TRAINED.stated() if key not in WHOLE.stated()]
    assert keys == [f"training.{key}" for key in ("name", "sha256", "method", "steps", "tokens")]


@pytest.mark.parametrize(
    ("claims", "nbytes"), [(WHOLE, LARGEST_NBYTES), (TRAINED, LARGEST_NBYTES + 300)], ids=["rounded", "trained"]
)
def test_it_is_small(claims: Certificate, nbytes: int) -> None:
    with_it, without = (lay_out(metadata, []).nbytes for metadata in (claims.metadata(), {}))
    assert with_it - without <= nbytes


def test_its_size_does_not_depend_on_what_is_found() -> None:
    assert WHOLE.evaluation is not None
    found = replace(WHOLE.evaluation, kld_mean=Figure(1e-7, 0, 12345.678), top1=Figure(1, 1, 1))
    other = replace(WHOLE, source=DIGESTS[3], tensors="0" * 64, evaluation=found)
    assert len(lay_out(other.metadata(), []).header) == len(lay_out(WHOLE.metadata(), []).header)


def test_names_are_fit_for_a_terminal_and_cut() -> None:
    assert WHOLE.calibration is not None
    names = ("a\x1b[2J\n\u202e", "caf\udce9", "x" * 500)
    stated = [
        replace(WHOLE, calibration=replace(WHOLE.calibration, name=name)).metadata()["quantize.calibration.name"].data
        for name in names
    ]
    assert stated == ["a?[2J??", "caf?", "x" * 61 + "..."]


def test_a_file_without_one_is_told_so() -> None:
    with pytest.raises(InputError, match=r"^a\.gguf: has no certificate$"):
        statement.read("a.gguf", {"general.name": text("x"), "quantize.imatrix.file": text("x")})


@pytest.mark.parametrize("key", list(TRAINED.metadata()))
def test_every_key_is_needed(key: str) -> None:
    metadata = TRAINED.metadata()
    del metadata[key]
    with pytest.raises(InputError, match=rf"^a\.gguf: its certificate is incomplete: no {key}$"):
        statement.read("a.gguf", metadata)


NUMBERS = ValueType.FLOAT32


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("recipe", u32(1), "is '1', not a printable text of at most 200 characters"),
        ("recipe", text(""), "is '', not"),
        ("recipe", text("q4\x1b[2J"), r"is 'q4\\x1b\[2J', not"),
        ("recipe", text("x" * 100_000), r"\.\.\. \(100000 characters\), not"),
        ("method", array(ValueType.STRING, ["a"]), "is an array of 1, not"),
        ("calibration.name", text("x" * 65), "not a printable text of at most 64 characters"),
        ("source.sha256", text("A" * 64), "not 64 hex digits"),
        ("source.sha256", text("a" * 63), "not 64 hex digits"),
        ("source.sha256", text("a" * 64 + "\n"), "not 64 hex digits"),
        ("tensors.sha256", Value(ValueType.BOOL, True), "is 'True', not 64 hex digits"),
        ("calibration.tokens", u32(0), "is '0', not a count from 1 on"),
        ("evaluation.chunks", Value(ValueType.INT32, 5), "not a count from 1 on"),
        ("evaluation.chunks", Value(ValueType.UINT64, 1 << 60), "not a count from 1 on"),
        ("evaluation.kld_mean", f32(0.1), "is '0.1', not three numbers from 0 to"),
        ("evaluation.kld_mean", array(NUMBERS, [0.1, 0.1]), "is an array of 2, not three numbers"),
        ("evaluation.kld_mean", array(NUMBERS, [float("nan"), 0, 1]), "not three numbers"),
        ("evaluation.kld_mean", array(NUMBERS, [0.1, 0, float("inf")]), "not three numbers"),
        ("evaluation.kld_mean", array(NUMBERS, [-0.1, 0, 1]), "not three numbers"),
        ("evaluation.kld_mean", array(ValueType.FLOAT64, [0.1, 0.1, 0.1]), "not three numbers"),
        ("evaluation.top1", array(NUMBERS, [1.5, 1, 2]), "not three numbers from 0 to 1"),
        ("evaluation.top1", array(NUMBERS, np.zeros(1 << 20, "<f4")), "is an array of 1048576, not"),
    ],
)
def test_what_no_certificate_holds_is_refused(key: str, value: Value, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        statement.read("a.gguf", {**WHOLE.metadata(), f"quantize.{key}": value})
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"a.gguf: quantize.{key} is ")

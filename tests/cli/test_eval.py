"""quantize eval: the perplexity llama-perplexity would report, and the divergence; limits that a build fails by."""

import json
import os
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from quantize_cli.evaluation.corpus import read_chunks
from quantize_cli.model.source import open_model
from quantize_cli.tokenizers import load_tokenizer
from tests import oracle
from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded
from tests.evaluation.test_perplexity import nlls

TEXT = EXAMPLES / "sample.txt"


@pytest.mark.parametrize("mix", ["f16", "q8_0", "q4_k_m"])
def test_the_perplexity_is_llama_cpps(mix: str, tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "out.gguf"
    succeeded("convert", MODEL, "--type", mix, "-o", path)
    found = document("eval", path, "--text", TEXT, "--ctx", "256")
    chunks = read_chunks(TEXT, load_tokenizer(open_model(path).metadata), 256)
    reference = oracle.Model(path, context=256)
    expected = np.exp(np.concatenate([nlls(reference.logits(chunk), chunk) for chunk in chunks]).mean())
    assert found["perplexity"] == pytest.approx(expected, rel=0.002)
    assert (found["chunks"], found["tokens"]) == (len(chunks), len(chunks) * 127)


def test_a_checkpoint_is_measured_as_it_is() -> None:
    found = document("eval", MODEL, "--text", TEXT, "--ctx", "128", "--chunks", "2")
    assert (found["ctx"], found["chunks"], found["tokens"]) == (128, 2, 2 * 63)
    said = succeeded("eval", MODEL, "--text", TEXT, "--ctx", "128", "--chunks", "2")
    assert f"{found['perplexity']:.4f} +/- " in said


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--text", "absent.txt"), 3, "absent.txt: "),
        (("--text", TEXT, "--ctx", "100000"), 3, "sample.txt: the text is "),
        (("--text", TEXT, "--ctx", "2"), 2, "a context of 2 tokens"),
        (("--text", TEXT, "--chunks", "0"), 2, "cannot measure 0 chunks"),
        ((), 2, "missing option '--text'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: tuple[str, ...], code: int, says: str) -> None:
    assert_refused(quantize("eval", MODEL, *options), code, says)


SHORT = ("--ctx", "128", "--chunks", "4")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("eval") / "q4.gguf"
    succeeded("convert", MODEL, "--type", "q4_k_m", "-o", path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("eval") / "saved.reference"
    succeeded("eval", MODEL, "--text", TEXT, *SHORT, "--save-reference", path)
    return path


def log_probabilities(model: oracle.Model, chunk: np.ndarray) -> np.ndarray:
    exact = model.logits(chunk)[len(chunk) // 2 : -1].astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    chances: np.ndarray = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return chances


def test_the_divergence_is_llama_cpps(quantized: Path, tmp_path: Path) -> None:
    oracle.library()
    path = tmp_path / "f32.gguf"
    succeeded("convert", MODEL, "--type", "f32", "-o", path)
    found = document("eval", quantized, "--text", TEXT, *SHORT, "--reference", path)
    chunks = read_chunks(TEXT, load_tokenizer(open_model(path).metadata), 128, 4)
    model, reference = (oracle.Model(each, context=128) for each in (quantized, path))
    divergences = []
    for chunk in chunks:
        p, q = log_probabilities(reference, chunk), log_probabilities(model, chunk)
        divergences.append((np.exp(p) * (p - q)).sum(axis=1))
    assert found["kld_mean"] == pytest.approx(np.mean(divergences), rel=0.02)
    # Of 252 tokens, each of which llama.cpp rounds a little differently.
    assert found["kld_median"] == pytest.approx(np.median(divergences), rel=0.1)
    assert found["kld_mean_interval"][0] < found["kld_mean"] < found["kld_mean_interval"][1]


def test_a_saved_reference_stands_for_its_model(quantized: Path, saved: Path) -> None:
    live = document("eval", quantized, "--text", TEXT, *SHORT, "--reference", MODEL)
    from_file = document("eval", quantized, "--reference", saved)
    named = document("eval", quantized, "--text", TEXT, *SHORT, "--reference", saved)
    assert named == {**from_file, "text": str(TEXT)}
    assert 0 < from_file["kld_error"] < 1e-5
    assert from_file["kld_mean"] == pytest.approx(live["kld_mean"], abs=from_file["kld_error"] + 1e-7)
    for key in ("perplexity", "perplexity_ratio", "top1", "reference_perplexity", "rms_delta_p"):
        assert from_file[key] == pytest.approx(live[key], rel=1e-6)
    fewer = document("eval", quantized, "--reference", saved, "--chunks", "2")
    assert (fewer["chunks"], fewer["ctx"]) == (2, 128)


def test_what_llama_perplexity_saved_is_taken(quantized: Path, tmp_path: Path) -> None:
    chunks = read_chunks(TEXT, load_tokenizer(open_model(MODEL).metadata), 128, 2)
    tokens = chunks.copy()
    tokens[:, 0] = 5  # llama-perplexity keeps the text's own token here, and runs the first of texts for it
    path = tmp_path / "base.logits"
    vocabulary = 1024
    row = struct.pack("<ff", 0.0, float(-np.log(vocabulary))) + bytes(2 * vocabulary)
    head = struct.pack("<8sIii", b"_logits_", 128, vocabulary, 2) + tokens.astype("<i4").tobytes()
    path.write_bytes(head + row * (2 * 63))
    done = quantize("eval", quantized, "--text", TEXT, *SHORT[:2], "--chunks", "2", "--reference", path, "--json")
    assert done.returncode == 0, done.stderr
    assert f"warning: {path}: cuts probabilities" in done.stderr
    found = document("eval", quantized, "--reference", path)
    assert found["reference_perplexity"] == pytest.approx(vocabulary, rel=1e-6)
    assert found["kld_error"] == "nan"


def test_texts_are_measured_each_and_averaged(quantized: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT.read_text()[3000:])
    found = document("eval", quantized, "--text", TEXT, "--text", other, *SHORT, "--reference", MODEL)
    items = found["texts"]
    assert [item["text"] for item in items] == [str(TEXT), str(other)]
    assert found["text"] is None
    assert found["kld_mean"] == pytest.approx(np.mean([item["kld_mean"] for item in items]))
    assert found["perplexity"] == pytest.approx(np.sqrt(np.prod([item["perplexity"] for item in items])))
    said = succeeded("eval", quantized, "--text", TEXT, "--text", other, *SHORT, "--reference", MODEL)
    assert "macro average" in said


GATES = [
    (("--max-kld", "1"), 0, "passed: "),
    (("--max-kld", "1", "--max-ppl-increase", "50%", "--min-top1", "10%", "--strict"), 0, "passed: "),
    (("--max-kld", "0.000001"), 1, "failed: "),
    (("--max-kld", "0.000001", "--min-top1", "0.1"), 1, "failed: "),
]


@pytest.mark.parametrize(("options", "code", "says"), GATES)
def test_a_limit_decides_the_exit_code(
    options: tuple[str, ...], code: int, says: str, quantized: Path, saved: Path
) -> None:
    done = quantize("eval", quantized, "--reference", saved, *options)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "KL divergence, mean" in done.stdout


def test_what_is_undecided_is_said_and_fails_if_strict(quantized: Path, saved: Path, tmp_path: Path) -> None:
    value = document("eval", quantized, "--reference", saved)["kld_mean"]
    junit = tmp_path / "gate.xml"
    options = ("eval", quantized, "--reference", saved, "--max-kld", value, "--junit", junit, "--json")
    lenient, strict = quantize(*options), quantize(*options, "--strict", "--force")
    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert "warning: inconclusive: " in lenient.stderr
    (case,) = ElementTree.parse(junit).getroot().findall("testcase")
    assert case.find("failure") is not None


@pytest.mark.parametrize(("limit", "options", "code"), [("1e-6", (), 1), ("1", (), 0), ("1", ("--strict",), 1)])
def test_one_chunk_is_judged_by_its_figure(
    limit: str, options: tuple[str, ...], code: int, quantized: Path, saved: Path, tmp_path: Path
) -> None:
    junit = tmp_path / "gate.xml"
    judged = ("--reference", saved, "--chunks", "1", "--max-kld", limit, "--junit", junit, "--json", *options)
    done = quantize("eval", quantized, *judged)
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"], found["gates"][0]["interval"]) == (code, not code, None)
    assert found["gates"][0]["verdict"] == ("fail" if code else "pass")
    assert ElementTree.parse(junit).getroot().get("failures") == str(code)
    assert "too few chunks for an interval" in done.stderr


def test_a_limit_that_forgets_its_sign_is_warned_of(quantized: Path, saved: Path) -> None:
    done = quantize("eval", quantized, "--reference", saved, "--max-ppl-increase", "5")
    assert "warning: --max-ppl-increase 5 allows 500 % more perplexity; 5% is written with its sign" in done.stderr


def test_the_usual_context_is_what_the_model_was_trained_on() -> None:
    found = [document("eval", MODEL, "--text", TEXT, "--chunks", "1", *it) for it in ((), ("--ctx", "0"))]
    assert [it["ctx"] for it in found] == [256, 256]
    done = quantize("eval", MODEL, "--text", TEXT, "--chunks", "1", "--ctx", "300")
    assert f"warning: {MODEL}: a context of 300 tokens, where the model was trained on 256" in done.stderr


def test_a_reference_is_not_mixed_up_with_another_reading(tmp_path: Path) -> None:
    text, reference = tmp_path / "text.txt", tmp_path / "special.reference"
    text.write_text(TEXT.read_text().replace("\n", "</s>"))
    succeeded("eval", MODEL, "--text", text, *SHORT, "--special", "--save-reference", reference)
    done = quantize("eval", MODEL, "--text", text, *SHORT, "--reference", reference)
    assert_refused(done, 3, "was made of other tokens than those of", "--special")
    found = document("eval", MODEL, "--text", text, *SHORT, "--reference", reference, "--special")
    assert found["kld_mean"] == pytest.approx(0, abs=1e-5)
    assert_refused(quantize("eval", MODEL, "--reference", reference, "--special"), 2, "--special: there is no text")


def test_a_report_is_one_page(quantized: Path, saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    succeeded("eval", quantized, "--reference", saved, "--html", page, "--max-kld", "1")
    said = page.read_text()
    assert said.startswith("<!doctype html>")
    assert said.count("<svg") == 3
    assert "q4.gguf" in said


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--max-kld", "1"), 2, "--max-kld needs something to compare with"),
        (("--reference", MODEL), 2, "is the model itself"),
        (("--reference", MODEL / ".." / MODEL.name), 2, "is the model itself"),
        (("--strict",), 2, "--strict needs a limit"),
        (("--text", TEXT, "--text", TEXT), 2, "is given twice"),
        (("--text", TEXT, "--reference", "absent.gguf"), 3, "absent.gguf: no such file"),
        (("--text", TEXT, "--save-reference", "absent/saved"), 4, "there is no directory"),
        (("--text", TEXT, "--html", TEXT), 4, "is an input itself"),
        (("--text", TEXT, "--html", MODEL), 4, "is a directory"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options: tuple[Any, ...], code: int, says: str) -> None:
    assert_refused(quantize("eval", MODEL, *options), code, says)


def test_a_reference_that_does_not_fit_is_refused(saved: Path, quantized: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT.read_text()[500:])
    options = ("eval", quantized, "--reference", saved)
    assert_refused(quantize(*options, "--ctx", "64"), 3, "context of 128 tokens, not 64")
    assert_refused(quantize(*options, "--text", other, "--chunks", "4"), 3, "other tokens", str(other))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(saved.read_bytes()[:-1])
    assert_refused(quantize("eval", quantized, "--reference", damaged), 3, f"{damaged}: ", "end at byte")


def test_models_of_other_vocabularies_are_refused(quantized: Path, saved: Path, tmp_path: Path) -> None:
    """One token is spelled otherwise: the counts are the same, the predictions are not of the same things."""
    content = quantized.read_bytes()
    at = content.index(b"\xe2\x96\x81there")
    other = tmp_path / "other.gguf"
    other.write_bytes(content[: at + 3] + b"THERE" + content[at + 8 :])
    done = quantize("eval", other, "--text", TEXT, *SHORT, "--reference", quantized)
    assert_refused(done, 3, str(other), str(quantized), "different vocabularies")
    assert_refused(quantize("eval", other, "--reference", saved), 3, str(other), str(saved), "different vocabularies")


def test_a_failure_leaves_the_old_reference_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_bytes(b"old")
    done = quantize("eval", MODEL, "--text", "absent.txt", "--save-reference", path, "--force")
    assert_refused(done, 3, "absent.txt")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["saved"]  # noqa: PTH208

"""quantize convert --certify and quantize verify: what a shell sees of certificates."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.certificate.certify import file_sha256
from quantize_cli.formats.gguf.layout import Value, ValueType, text
from quantize_cli.formats.gguf.reader import read_gguf
from tests import oracle
from tests.certificates import edited, restated
from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded

TEXT = EXAMPLES / "sample.txt"
FIGURES = ("kld_mean", "perplexity_ratio", "top1")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `certified.gguf`, and `plain.gguf` made without."""
    place = tmp_path_factory.mktemp("certified")
    done = quantize("convert", MODEL, "-o", "certified.gguf", "--certify", TEXT, cwd=place)
    assert (done.returncode, done.stdout) == (0, "")
    assert "certified: mean KLD 0.0" in done.stderr
    assert [path.name for path in place.iterdir()] == ["certified.gguf"]
    succeeded("convert", MODEL, "-o", "plain.gguf", cwd=place)
    return place


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.gguf"
    path.write_bytes((directory / "certified.gguf").read_bytes())
    return path


def test_what_is_stated_is_what_eval_measures(directory: Path) -> None:
    path = directory / "certified.gguf"
    stated = document("inspect", path)["certificate"]
    measured = document("eval", path, "--text", TEXT, "--ctx", "256", "--reference", MODEL)
    assert (stated["evaluation.context"], stated["evaluation.chunks"]) == (measured["ctx"], measured["chunks"])
    for name in FIGURES:
        expected = [measured[name], *measured[f"{name}_interval"]]
        np.testing.assert_array_equal(np.float32(stated[f"evaluation.{name}"]), np.float32(expected))
    assert (stated["recipe"], stated["method"]) == ("q4_k_m", "none")
    assert (stated["evaluation.name"], stated["evaluation.sha256"]) == ("sample.txt", file_sha256(TEXT))


def test_besides_its_certificate_a_file_is_what_it_would_be(directory: Path) -> None:
    with_it, plain = read_gguf(directory / "certified.gguf"), read_gguf(directory / "plain.gguf")
    assert list(plain.metadata) == [key for key in with_it.metadata if not key.startswith("quantize.")]
    for one, other in zip(plain.tensors, with_it.tensors, strict=True):
        assert (one.name, one.rows(0, one.row_count).tobytes()) == (other.name, other.rows(0, one.row_count).tobytes())


def test_no_path_of_this_machine_is_in_it(directory: Path) -> None:
    content = (directory / "certified.gguf").read_bytes()
    for place in (EXAMPLES, directory, Path.home(), Path.cwd()):
        assert str(place).encode() + b"/" not in content


def test_llama_cpp_runs_it(directory: Path) -> None:
    oracle.library()
    tokens = np.arange(5, 25)
    with_it, plain = (oracle.Model(directory / name).logits(tokens) for name in ("certified.gguf", "plain.gguf"))
    np.testing.assert_array_equal(with_it, plain)


def test_a_dry_run_counts_its_bytes(directory: Path, tmp_path: Path) -> None:
    found = document("convert", MODEL, "--dry-run", "--certify", TEXT, cwd=tmp_path)
    assert found["nbytes"] == (directory / "certified.gguf").stat().st_size
    assert list(tmp_path.iterdir()) == []


def test_inspect_shows_it_apart_from_other_metadata(directory: Path) -> None:
    said = succeeded("inspect", directory / "certified.gguf")
    (line,) = (line for line in said.splitlines() if line.startswith("evaluation.kld_mean"))
    value, low, high = document("inspect", directory / "certified.gguf")["certificate"]["evaluation.kld_mean"]
    assert line.split(maxsplit=1)[1].strip() == f"{value:.5g} ({low:.5g} to {high:.5g})"
    assert "quantize." not in said
    assert document("inspect", directory / "plain.gguf")["certificate"] is None
    assert document("inspect", MODEL)["certificate"] is None


def test_what_holds_ends_well(directory: Path) -> None:
    path = directory / "certified.gguf"
    done = quantize("verify", path, "--reference", MODEL, "--text", TEXT)
    assert done.returncode == 0, done.stderr
    assert f"{path}: holds: 11 confirmed, 1 not checkable" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows if row[-1] != "confirmed"] == ["version"]
    assert document("verify", path)["holds"] is True


def test_what_is_contradicted_is_the_answer_no(copy: Path) -> None:
    restated(copy, tensors="0" * 64)
    done = quantize("verify", copy)
    assert (done.returncode, "does not hold" in done.stderr) == (1, True)
    (line,) = (line for line in done.stdout.splitlines() if "contradicted" in line)
    assert line.split()[:3] == ["tensors.sha256", "0" * 16 + "...", "contradicted"]
    assert quantize("verify", copy, "--json").returncode == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("recipe", None, "incomplete: no quantize.recipe"),
        ("recipe", text("\x1b[2J\n"), r"quantize.recipe is '\x1b[2J\n', not"),
        ("evaluation.chunks", Value(ValueType.UINT64, 1 << 63), "evaluation.chunks is '9223372036854775808', not"),
    ],
)
def test_a_malformed_certificate_is_refused_in_one_line(key: str, value: Value | None, said: str, copy: Path) -> None:
    edited(copy, {f"quantize.{key}": value})
    assert_refused(quantize("verify", copy), 3, said)
    assert document("inspect", copy)["certificate"] is None


def test_a_file_without_a_certificate_is_refused(directory: Path) -> None:
    assert_refused(quantize("verify", directory / "plain.gguf"), 3, "plain.gguf: has no certificate", "--certify")


@pytest.mark.parametrize("name", ["absent.gguf", "model.safetensors", "."])
def test_what_is_no_gguf_file_is_refused(name: str) -> None:
    assert_refused(quantize("verify", MODEL / name), 3)


def test_evidence_that_is_not_there_is_refused(directory: Path) -> None:
    path = directory / "certified.gguf"
    assert_refused(quantize("verify", path, "--text", "absent.txt"), 3, "absent.txt: ")
    assert_refused(quantize("verify", path, "--reference", "absent"), 3, "absent: ")


def test_what_is_quantized_again_has_no_certificate(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    succeeded("convert", directory / "certified.gguf", "-o", path, "--type", "q2_k", "--allow-requantize")
    assert [key for key in read_gguf(path).metadata if key.startswith("quantize.")] == []


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("-o", "a.gguf", "--certify", "short.txt"), 3, "short.txt: the text is "),
        (("-o", "a.gguf", "--certify", "absent.txt"), 3, "absent.txt: "),
        (("-o", "a.bin", "--certify", TEXT), 2, "a.bin: not called .gguf"),
        (("-o", "b/a.gguf", "--certify", TEXT), 4, "b/a.gguf: "),
    ],
)
def test_what_cannot_be_certified_is_not_written(
    options: tuple[object, ...], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("too short")
    assert_refused(quantize("convert", MODEL, *options, cwd=tmp_path), code, said)
    assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]

"""A certificate is confirmed as far as it can be checked, and a false claim is found."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import file_sha256
from quantize_cli.certificate.statement import Calibration
from quantize_cli.certificate.verify import Evidence, Verdict, verify
from quantize_cli.formats.gguf.layout import text
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.write import write
from tests.certificates import TEXT, certified, edited, evaluate, restated
from tests.cli.console import MODEL
from tests.golden.imatrix.make import HERE

IMATRIX = HERE / "tiny-llama.imatrix"
FIGURES = ("kld_mean", "perplexity_ratio", "top1")
OF_FIGURES = {f"evaluation.{name}" for name in FIGURES}
OF_CHUNKS = {"evaluation.context", "evaluation.chunks"}
Found = dict[str, Verdict]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = certified(tmp_path_factory.mktemp("verify") / "model.gguf", recipe.named("q4_k_m"))
    assert list(path.parent.iterdir()) == [path]
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "copy.gguf"))


def held_against(path: Path, reference: Path | None = MODEL, texts: tuple[Path, ...] = (TEXT,)) -> Found:
    """The verdict on each claim."""
    return {check.claim: check.verdict for check in verify(path, Evidence(reference, texts, evaluate))}


def alone(path: Path) -> Found:
    return held_against(path, None, ())


def confirmed(found: Found) -> set[str]:
    return {claim for claim, verdict in found.items() if verdict is Verdict.CONFIRMED}


def unchecked(found: Found) -> set[str]:
    return {claim for claim, verdict in found.items() if verdict is Verdict.NOT_CHECKABLE}


def contradicted(found: Found) -> set[str]:
    return set(found) - confirmed(found) - unchecked(found)


def converted(path: Path, mix: str) -> Path:
    write({path: plan.make(open_model(MODEL), recipe.named(mix))}, Threads(2))
    return path


def flip(path: Path, name: str) -> None:
    """Turn the lowest bit of a tensor's last byte."""
    (tensor,) = (tensor for tensor in read_gguf(path).tensors if tensor.name == name)
    content = bytearray(path.read_bytes())
    content[tensor.offset + tensor.nbytes - 1] ^= 1
    path.write_bytes(content)


# --- what holds --------------------------------------------------------------------------------------------------


def test_a_file_alone_answers_for_its_tensors(original: Path) -> None:
    found = alone(original)
    assert (confirmed(found), contradicted(found)) == ({"tensors.sha256"}, set())


def test_with_source_and_text_all_but_the_version_is_confirmed(original: Path) -> None:
    found = held_against(original)
    assert (unchecked(found), contradicted(found)) == ({"version"}, set())


def test_the_float_file_of_the_source_does_as_well(original: Path, tmp_path: Path) -> None:
    found = held_against(original, converted(tmp_path / "float.gguf", "bf16"))
    assert (unchecked(found), contradicted(found)) == ({"version"}, set())


def test_the_text_is_known_by_its_bytes(original: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(TEXT, tmp_path / "renamed.txt"))
    assert confirmed(held_against(original, None, (renamed,))) == {"tensors.sha256", "evaluation.sha256"}


def test_other_metadata_may_be_edited(copy: Path) -> None:
    edited(copy, {"tokenizer.chat_template": text("{{ x }}"), "general.name": None})
    assert (unchecked(held_against(copy)), contradicted(held_against(copy))) == ({"version"}, set())


def test_parts_of_a_model_are_certified_together(tmp_path: Path) -> None:
    parts = certified(tmp_path / "a.gguf", recipe.named("q4_k_m"), limit=1_000_000)
    assert sorted(tmp_path.iterdir()) == parts
    assert len(parts) > 1
    found = held_against(parts[1])
    assert (unchecked(found), contradicted(found)) == ({"version"}, set())


@pytest.mark.parametrize("mix", ["iq2_xs", "q2_k_s"])
def test_an_importance_matrix_is_stated_as_the_method(mix: str, tmp_path: Path) -> None:
    (path,) = certified(tmp_path / "a.gguf", recipe.named(mix), IMATRIX)
    assert statement.read("", read_gguf(path).metadata).method == "imatrix"
    found = held_against(path)
    assert (unchecked(found), contradicted(found)) == ({"version", "method"}, set())


def test_a_recipe_of_ones_own_is_stated_but_not_checked(tmp_path: Path) -> None:
    own = tmp_path / "q4_k_m.toml"
    own.write_text('default = "q8_0"\n')
    (path,) = certified(tmp_path / "a.gguf", recipe.from_file(own))
    found = held_against(path)
    assert (unchecked(found), contradicted(found)) == ({"version", "recipe", "method"}, set())


def test_what_was_given_by_hand_is_checked(tmp_path: Path) -> None:
    overrides = (recipe.override("blk.0.*=q8_0"), recipe.override("output.weight=f16"))
    (path,) = certified(tmp_path / "a.gguf", replace(recipe.named("q4_k_m", pure=True), overrides=overrides))
    found = held_against(path)
    assert (unchecked(found), contradicted(found)) == ({"version"}, set())


# --- what does not -----------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_found(copy: Path) -> None:
    for tensor in ("output_norm.weight", "blk.2.ffn_up.weight"):
        flip(copy, tensor)
        assert contradicted(alone(copy)) == {"tensors.sha256"}
        assert {"tensors.sha256", "method"} <= contradicted(held_against(copy))
        flip(copy, tensor)
    assert contradicted(alone(copy)) == set()


@pytest.mark.parametrize("tensor", ["output_norm.weight", "blk.2.ffn_up.weight"])
def test_weights_changed_with_their_digest_are_found_by_the_source(tensor: str, copy: Path) -> None:
    flip(copy, tensor)
    (check,) = (c for c in verify(copy, Evidence(None, (), evaluate)) if c.claim == "tensors.sha256")
    restated(copy, tensors=check.found)
    assert contradicted(alone(copy)) == set()
    assert "method" in contradicted(held_against(copy))


@pytest.mark.parametrize(
    ("part", "claims", "wrong"),
    [
        ("", {"recipe": "q4_k_s"}, {"recipe"}),
        ("", {"recipe": "q4_k_m, blk.0.attn_q.weight=q8_0"}, {"recipe"}),
        ("", {"source": "0" * 64}, {"source.sha256"}),
        ("", {"tensors": "0" * 64}, {"tensors.sha256"}),
        ("evaluation", {"sha256": "0" * 64}, {"evaluation.sha256"}),
        ("evaluation", {"context": 128}, OF_FIGURES),
        ("evaluation", {"chunks": 3}, OF_FIGURES),
        ("evaluation", {"chunks": 9}, OF_CHUNKS),
        ("evaluation", {"chunks": 1}, OF_CHUNKS),
        ("evaluation", {"chunks": 2**32 - 1}, OF_CHUNKS),
        ("evaluation", {"context": 2**32 - 1}, OF_CHUNKS),
        ("evaluation", {"context": 4}, OF_CHUNKS),
    ],
)
def test_an_edited_claim_is_contradicted(part: str, claims: dict[str, Any], wrong: set[str], copy: Path) -> None:
    assert contradicted(held_against(restated(copy, part, **claims))) == wrong


@pytest.mark.parametrize("place", ["value", "low", "high"])
def test_an_edited_figure_is_contradicted_and_no_other(place: str, copy: Path) -> None:
    stated = statement.read("", read_gguf(copy).metadata).evaluation
    for name in FIGURES:
        figure = getattr(stated, name)
        better = replace(figure, **{place: 0.95 * getattr(figure, place)})
        found = held_against(restated(copy, "evaluation", **{name: better}))
        assert contradicted(found) == {f"evaluation.{name}"}
        assert unchecked(found) == {"version", *OF_CHUNKS}
        restated(copy, "evaluation", **{name: figure})


def test_a_method_that_was_not_used_is_contradicted(tmp_path: Path) -> None:
    (path,) = certified(tmp_path / "a.gguf", recipe.named("q4_k_m"), IMATRIX)
    assert contradicted(held_against(restated(path, method="none"))) == {"method"}


def test_another_source_is_contradicted_and_nothing_measured_against_it(original: Path, tmp_path: Path) -> None:
    found = held_against(original, converted(tmp_path / "other.gguf", "q8_0"))
    assert contradicted(found) == {"source.sha256"}
    assert unchecked(found) == {"version", "recipe", "method", *OF_CHUNKS, *OF_FIGURES}


def test_another_text_is_contradicted_and_nothing_measured_on_it(original: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(TEXT.read_text() + "x")
    found = held_against(original, texts=(tmp_path / "other.txt",))
    assert contradicted(found) == {"evaluation.sha256"}
    assert unchecked(found) >= OF_CHUNKS | OF_FIGURES


def test_a_calibration_text_is_told_from_that_of_the_evaluation(copy: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.txt"
    calibration.write_text("Once upon a time")
    restated(copy, calibration=Calibration("calibration.txt", file_sha256(calibration), 100, 10))
    of_texts = {"calibration.sha256", "evaluation.sha256"}
    assert confirmed(held_against(copy, None, (calibration, TEXT))) >= of_texts
    assert confirmed(held_against(copy, None, (TEXT,))) & of_texts == {"evaluation.sha256"}
    calibration.write_text("Twice upon a time")
    assert contradicted(held_against(copy, None, (calibration,))) == {"calibration.sha256"}
    assert contradicted(held_against(copy, None, (calibration, TEXT))) == {"calibration.sha256"}

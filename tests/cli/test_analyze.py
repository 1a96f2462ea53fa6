"""quantize analyze: what rounding each tensor costs, as a table, a document and a page."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import EXAMPLES, MODEL, assert_refused, document, quantize, succeeded
from tests.runtime import synthetic

TEXT = EXAMPLES / "sample.txt"
SHORT = ("--text", TEXT, "--ctx", "64", "--chunks", "2", "--types", "q3_k,q8_0")


@pytest.fixture(scope="module")
def found() -> Any:
    return document("analyze", MODEL, *SHORT)


def test_the_document_has_every_tensor_that_is_quantized(found: Any) -> None:
    assert (found["model"], found["ctx"], found["chunks"], found["tokens"]) == (str(MODEL), 64, 2, 128)
    planned = {item["name"] for item in document("plan", MODEL)["tensors"] if len(item["shape"]) > 1}
    assert {item["name"] for item in found["tensors"]} == planned
    for item in found["tensors"]:
        assert item["losses"]["Q3_K"] > 10 * item["losses"]["Q8_0"] > 0
        assert 1e-6 < item["errors"]["Q8_0"] < 1e-3
        assert item["run"] == ["Q3_K"]


def test_layers_and_frontier_are_sums_of_tensors(found: Any) -> None:
    total = sum(item["losses"]["Q3_K"] for item in found["tensors"])
    assert sum(item["loss"] for item in found["layers"]) == pytest.approx(total)
    assert [item["layer"] for item in found["layers"]] == [None, 0, 1, 2, 3]
    first, *_, last = found["frontier"]
    assert (first["kld"], first["nbytes"]) == (pytest.approx(total), found["uniform"][0]["nbytes"])
    assert last["nbytes"] == found["uniform"][-1]["nbytes"]


def test_the_table_and_the_page_say_the_same(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    said = succeeded("analyze", MODEL, *SHORT, "--html", page)
    assert said.splitlines()[0].split() == ["tensor", "q3_k", "q8_0", "outliers"]
    content = page.read_text()
    for cell in said.splitlines()[2].split():
        assert cell in content
    assert content.count("<svg") == 4
    parser = Linked()
    parser.feed(content)
    assert parser.links == ["data:,"]
    assert "script" not in parser.tags


class Linked(HTMLParser):
    """All tags of a page, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "xlink:href")]


def test_what_is_quantized_already_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q8.gguf"
    succeeded("convert", MODEL, "--type", "q8_0", "-o", path)
    assert_refused(quantize("analyze", path, *SHORT), 3, "already q8_0")


def test_a_model_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    assert_refused(quantize("analyze", synthetic.small(tmp_path), *SHORT), 3)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((MODEL,), 2, "missing option '--text'"),
        ((MODEL, "--text", TEXT, "--types", "q3_k,nonsense"), 2, "--types: unknown type 'nonsense'"),
        ((MODEL, "--text", TEXT, "--types", ""), 2, "--types: unknown type ''"),
        ((MODEL, "--text", TEXT, "--types", "q8_k"), 3, "q8_k is not supported"),
        ((MODEL, "--text", TEXT, "--types", "iq2_s"), 3, "needs an importance"),
        ((MODEL, "--text", TEXT, "--html", "absent/report.html"), 4, "there is no directory absent"),
        ((MODEL, "--text", "absent.txt"), 3, "absent.txt"),
        ((MODEL, "--text", TEXT, "--chunks", "0"), 2, "at least 1"),
    ],
)
def test_requests_that_make_no_sense_are_refused(arguments: tuple[Any, ...], code: int, says: str) -> None:
    assert_refused(quantize("analyze", *arguments), code, says)

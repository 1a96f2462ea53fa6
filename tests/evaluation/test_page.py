"""The page stands alone and is well formed, whatever the names in it; a browser has nothing to say against it."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.evaluation.evaluated_model import EvaluatedModel
from quantize_cli.evaluation.evaluation import Evaluation, ModelResult
from quantize_cli.evaluation.gate import judge, parse_gates
from quantize_cli.evaluation.measure import Scores
from quantize_cli.evaluation.score import TokenComparison
from quantize_cli.evaluation.summary import summarize
from quantize_cli.model.source import Model
from quantize_cli.model.tensor import from_array
from quantize_cli.report import chart, evaluation_page
from quantize_cli.report.pages import Column

VOID = {"meta", "link", "br"}
DRAWN_ALONE = {"line", "circle", "rect", "polyline", "polygon"}
BAD_NAME = '<script src="http://evil.example/x.js">&"\'.gguf'


class Checker(HTMLParser):
    """Collects what a page opens and does not close, and every attribute."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.opened: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN_ALONE
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def measured(name: str, apart: float | None, chunks: int, broken: bool = False) -> ModelResult:
    random = np.random.default_rng(7)
    base = random.exponential(2, (chunks, 40))
    against = None
    if apart is not None:
        divergence = random.exponential(apart, base.shape) - 1e-9
        divergence[0, 0] = np.nan if broken else 0.0
        against = TokenComparison(base, divergence, random.random(base.shape) < 0.9, np.zeros_like(base))
    scores = Scores(base, against, (10.0,))
    tensors = [from_array("output.weight", np.ones((4, 8), np.float32))]
    subject = EvaluatedModel(Path(name), Model(Path(name), "llama", {}, tensors), None)  # type: ignore[arg-type]
    summary = summarize(scores, [chunks])
    return ModelResult(subject, scores, summary, (summary,), apart is None)


def checked(document: str) -> Checker:
    checker = Checker()
    checker.feed(document)
    checker.close()
    assert checker.opened == []
    return checker


PAGES: dict[str, Any] = {
    "one": [("a.gguf", 0.01)],
    "alone": [("a.gguf", None)],
    "three": [("f16.gguf", None), ("q8.gguf", 1e-4), ("q2.gguf", 0.3)],
    "hostile": [(BAD_NAME, None), ("\udce9\x1b.gguf", 0.3)],
    "same": [("a.gguf", 0.0), ("b.gguf", None)],
    "twelve": [(f"{index}.gguf", 0.01 * index or None) for index in range(12)],
}


def document(name: str, chunks: int = 4, broken: bool = False) -> str:
    models = tuple(measured(model, apart, chunks, broken) for model, apart in PAGES[name])
    evaluation = Evaluation(((BAD_NAME, chunks),), 81, "f32.gguf", models)
    comparison = models[-1].overall.comparison
    outcomes = (
        [] if comparison is None else judge(parse_gates("2%", "0.02", "0.9"), replace(evaluation, models=models[-1:]))
    )
    columns = [Column("model", [str(model.subject.path) for model in models])]
    return evaluation_page.document(f"quantize compare: {models[0].subject.path.name}", evaluation, columns, outcomes)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_well_formed_and_stands_alone(name: str) -> None:
    checker = checked(document(name))
    for tag, attributes in checker.tags:
        assert tag not in ("script", "img", "iframe", "object", "base", "form")
        assert not any(key.startswith("on") for key in attributes)
        assert {"src", "srcset", "action", "xlink:href"}.isdisjoint(attributes)
        assert attributes.get("href", "data:,") == "data:,"
    style = resources.files("quantize_cli.report").joinpath("page.css").read_text()
    assert not re.search(r"url\(|@import|https?:", style)
    policy = [attributes.get("content") for _, attributes in checker.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_names_are_text() -> None:
    said = "".join(checked(document("hostile")).text)
    assert BAD_NAME in said
    assert "<script" not in document("hostile")


@pytest.mark.parametrize("name", ["one", "three", "same"])
@pytest.mark.parametrize(("chunks", "broken"), [(1, False), (4, True)])
def test_numbers_that_are_missing_are_not_drawn(name: str, chunks: int, broken: bool) -> None:
    for _, attributes in checked(document(name, chunks, broken)).tags:
        drawn = " ".join(value or "" for key, value in attributes.items() if key in ("points", "cx", "cy", "y1", "y2"))
        assert "nan" not in drawn
        assert "inf" not in drawn


def test_every_colour_of_a_chart_has_a_style() -> None:
    style = resources.files("quantize_cli.report").joinpath("page.css").read_text()
    for index in range(chart.COLOURS):
        assert style.count(f"--c{index}: ") == 2
        for rule in (f".s{index} {{ stroke", f"i.s{index} {{ background", f".bar.s{index}"):
            assert rule in style


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 0.31), (-5, 1e6), (1e-9, 2e-9)])
def test_an_axis_has_a_few_round_ticks(low: float, high: float) -> None:
    ticks = chart.Axis("", low, high).ticks()
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)


def test_a_browser_finds_nothing_wrong(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on the PATH")
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_bytes(document("three").encode("utf-8", "backslashreplace"))
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--window-size=1280,1500", f"--screenshot={picture}",
    ]  # fmt: skip
    done = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert picture.stat().st_size > 20_000


def test_a_grid_has_a_cell_for_each_number_above_zero() -> None:
    drawn = chart.grid(["0", "<1>"], ["q", "k", "v"], [[1e-3, 0, np.nan], [1.0, np.inf, 1e-1]], "a & b")
    assert drawn.count("<rect") == 3
    assert "a &amp; b: 0.001 to 1" in drawn
    assert "&lt;1&gt;, q: 1" in drawn
    assert 'fill-opacity="1.00"' in drawn
    assert 'fill-opacity="0.06"' in drawn


def test_names_of_many_columns_do_not_cover_each_other() -> None:
    drawn = chart.grid(["0"] * 100, [str(n) for n in range(128)], [[1.0] * 128] * 100, "experts")
    assert drawn.count('class="tick middle"') <= 346 / 15
    assert drawn.count('class="tick end"') <= 40

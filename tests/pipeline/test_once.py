"""A conversion opens its source, reads a text and plans the file once, whatever was asked for."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantize_cli.api import convert
from quantize_cli.evaluation import corpus
from quantize_cli.formats import checkpoint
from quantize_cli.model import source
from quantize_cli.pipeline import plan
from tests.cli.console import EXAMPLES, MODEL

TEXT = EXAMPLES / "sample.txt"
CALIBRATED: dict[str, Any] = {"texts": [TEXT], "context": 64, "chunks": 4}
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"bits": 4},
    "budgeted": {"size": "2.5MB", **CALIBRATED},
    "folded": {"bits": 4, "methods": ["awq"], **CALIBRATED},
    "certified": {"bits": 8, "certify": TEXT},
}


@pytest.mark.parametrize("kind", JOBS)
def test_everything_is_done_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: Counter[str] = Counter()

    def counted(module: object, name: str, what: Callable[..., str]) -> None:
        whole = getattr(module, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            done[what(*arguments)] += 1
            return whole(*arguments, **options)

        monkeypatch.setattr(module, name, counting)

    counted(source, "_opened", lambda path: f"open {'the source' if path == MODEL else 'the file'}")
    counted(checkpoint, "read_header", lambda path: f"header of {path.name}")
    counted(corpus, "read_text", lambda path: f"read {path.name}")
    counted(plan, "make", lambda model, recipe, *_: f"plan {recipe.file_type.name}")
    convert(MODEL, tmp_path / "out.gguf", **JOBS[kind])
    plans = sum(done.pop(name) for name in list(done) if name.startswith("plan "))
    assert plans == (2 if kind == "budgeted" else 1)  # a budget lays out a header to count its bytes
    expected = {"open the source", "header of model.safetensors"}
    expected |= {"read sample.txt"} if kind != "plain" else set()
    expected |= {"open the file"} if kind == "certified" else set()
    assert expected <= set(done)
    assert set(done.values()) == {1}

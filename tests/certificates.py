"""Certified files made and edited in this process: what tests of certificates share."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantize_cli.calibration import imatrix as imatrix_method
from quantize_cli.certificate import statement
from quantize_cli.certificate.certify import certify, request_certificate, with_claims
from quantize_cli.evaluation import evaluation
from quantize_cli.evaluation.evaluation import Evaluation, EvaluationRequest
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.formats.gguf.layout import TensorInfo, Value
from quantize_cli.formats.gguf.reader import read_gguf
from quantize_cli.formats.gguf.writer import lay_out
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan
from quantize_cli.pipeline import write as writing
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.quantize import Rounding
from quantize_cli.pipeline.recipe import Recipe
from tests.cli.console import EXAMPLES, MODEL

TEXT = EXAMPLES / "sample.txt"


def evaluate(request: EvaluationRequest) -> Evaluation:
    return evaluation.run(evaluation.prepare(request, lambda said: None), lambda amount: None)


def certified(path: Path, recipe: Recipe, imatrix: Path | None = None, limit: int | None = None) -> list[Path]:
    """The example as a certified file, or as several if their tensors are at most `limit` bytes each."""
    model = open_model(MODEL)
    importance, provenance = (None, {}) if imatrix is None else imatrix_method.importance(model, imatrix)
    whole = plan.make(model, recipe, importance, provenance)
    parts = (whole,) if limit is None else plan.split(whole, limit)
    names = [path.with_name(f"{path.stem}-{n:05d}-of-{len(parts):05d}.gguf") for n in range(1, len(parts) + 1)]
    wanted = request_certificate(model, TEXT, recipe, "none" if imatrix is None else "imatrix")
    files = with_claims(dict(zip([path] if limit is None else names, parts, strict=True)), wanted.blank)
    certify(files, wanted, lambda plans: writing.write(plans, Threads(2), rounding=Rounding(importance)), evaluate)
    return list(files)


def edited(path: Path, changes: Mapping[str, Value | None]) -> Path:
    """The file with a header that states other values, or lacks them, as anyone could write it."""
    file = read_gguf(path)
    changed = {**file.metadata, **changes}
    metadata = {key: value for key, value in changed.items() if value is not None}
    layout = lay_out(metadata, [TensorInfo(t.name, t.shape, GgmlType[t.dtype]) for t in file.tensors])
    path.write_bytes(layout.header + path.read_bytes()[file.data_offset :])
    return path


def restated(path: Path, part: str = "", **claims: Any) -> Path:
    """The file with other claims: of its certificate, or of its calibration or evaluation."""
    stated = statement.read(str(path), read_gguf(path).metadata)
    changed = replace(stated, **({part: replace(getattr(stated, part), **claims)} if part else claims))
    return edited(path, changed.metadata())

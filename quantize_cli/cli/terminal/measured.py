"""What commands that measure models share: figures as JSON and as tables, and reports as files."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_cli.cli.terminal.text import note, print_table
from quantize_cli.pipeline.outputs import Outputs, write_file

if TYPE_CHECKING:
    from quantize_cli.evaluation.bootstrap import Estimate
    from quantize_cli.evaluation.evaluation import Evaluation, ModelResult
    from quantize_cli.evaluation.summary import Comparison, Summary
    from quantize_cli.formats.output import OverwriteGuard
    from quantize_cli.report.pages import Column

ESTIMATES = ("perplexity_ratio", "kld_mean", "kld_median", "kld_p90", "kld_p95", "kld_p99", "kld_p999", "top1",
             "rms_delta_p")  # fmt: skip
"""The fields of Comparison that come with an interval, in the order in which they are listed."""
NUMBERS = ("kld_max", "kld_mean_stderr", "kld_error", "mean_ln_ratio", "mean_ln_ratio_stderr", "correlation",
           "reference_perplexity", "reference_perplexity_stderr")  # fmt: skip


def outputs_for(inputs: Iterable[Path | None], paths: Sequence[Path | None], force: bool) -> Outputs:
    """Where a command that reads `inputs` may write `paths`; OutputError at once where it may not."""
    outputs = Outputs(inputs, force, note)
    outputs.refuse_bad(paths)
    outputs.sweep(paths)
    return outputs


def summary_json(summary: "Summary") -> dict[str, object]:
    """Every figure by its name, those with an interval followed by it; null where nothing was compared."""
    return {**perplexity_json(summary), **estimates_json(summary.comparison)}


def texts_json(evaluation: "Evaluation", model: "ModelResult") -> list[dict[str, object]]:
    """The model's figures on each text."""
    return [
        {"text": name, **summary_json(summary)}
        for (name, _), summary in zip(evaluation.texts, model.by_text, strict=True)
    ]


def compared_cells(comparison: "Comparison | None") -> tuple[str, str, str]:
    """Perplexity ratio, mean divergence and same top token, as cells of a table; empty without a comparison."""
    if comparison is None:
        return "", "", ""
    ratio, divergence = comparison.perplexity_ratio.value, comparison.kld_mean.value
    return f"{ratio:.4f}", f"{divergence:.5f}", share(comparison.top1.value)


def estimates_json(comparison: "Comparison | None") -> dict[str, object]:
    document: dict[str, object] = {}
    for name in ESTIMATES:
        estimate: Estimate | None = getattr(comparison, name, None)
        document[name] = None if estimate is None else estimate.value
        document[f"{name}_interval"] = None if estimate is None else estimate.interval
    return {**document, **{name: getattr(comparison, name, None) for name in NUMBERS}}


def perplexity_json(summary: "Summary") -> dict[str, object]:
    return {
        "perplexity": summary.perplexity.value, "perplexity_stderr": summary.perplexity_stderr,
        "perplexity_interval": summary.perplexity.interval, "tokens": summary.tokens, "chunks": summary.chunks,
    }  # fmt: skip


def print_texts(evaluation: "Evaluation") -> None:
    """A row for each model on each text, and on all with equal weight, where there is more than one text."""
    if len(evaluation.texts) == 1:
        return
    rows = []
    for model in evaluation.models:
        names = [*(name for name, _ in evaluation.texts), "macro average"]
        for name, summary in zip(names, [*model.by_text, model.overall], strict=True):
            measured = (str(model.subject.path), name, str(summary.chunks), plus_minus(summary))
            rows.append((*measured, *compared_cells(summary.comparison)))
    headings = ("model", "text", "chunks", "perplexity", "ratio", "mean KLD", "same top")
    kept = 7 if any(row[-1] for row in rows) else 4
    sys.stdout.write("\n")
    print_table(headings[:kept], [row[:kept] for row in rows], frozenset(headings[2:]))


def plus_minus(summary: "Summary") -> str:
    return f"{summary.perplexity.value:.4f} +/- {summary.perplexity_stderr:.4f}"


def share(value: float) -> str:
    return f"{100 * value:.2f} %"


def interval(estimate: "Estimate", digits: int, scale: float = 1.0, unit: str = "") -> str:
    if estimate.interval is None:
        return "too few chunks"
    low, high = estimate.interval
    return f"{low * scale:.{digits}f} to {high * scale:.{digits}f}{unit}"


def write_report(path: Path, content: str | bytes, guard: "OverwriteGuard") -> None:
    """Write the whole file, or leave it as it was. Characters that no file can hold are escaped."""
    write_file(path, content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"), guard)


def columns_of(rows: "Sequence[Mapping[str, str]]") -> "list[Column]":
    """A table's rows, by heading, as the columns of a page."""
    from quantize_cli.report.pages import Column

    return [Column(heading, [row[heading] for row in rows]) for heading in rows[0]]


def print_rows(rows: "Sequence[Mapping[str, str]]") -> None:
    """A table of rows by heading; all columns but the first to the right."""
    headings = tuple(rows[0])
    print_table(headings, [tuple(row.values()) for row in rows], frozenset(headings[1:]))

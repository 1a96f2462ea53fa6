"""What commands that measure models share: how a measurement is run, said, and written."""

import sys
from pathlib import Path
from typing import Any

from quantize_cli.cli.terminal.text import print_table
from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.evaluation import Evaluation
from quantize_cli.evaluation.summary import Summary
from quantize_cli.formats.output import Guard
from quantize_cli.pipeline.outputs import write_whole

ESTIMATES = ("perplexity_ratio", "kld_mean", "kld_median", "kld_p90", "kld_p95", "kld_p99", "kld_p999", "top1",
             "rms_delta_p")  # fmt: skip
"""The fields of Comparison that come with an interval, in the order in which they are listed."""
NUMBERS = ("kld_max", "kld_mean_stderr", "kld_error", "mean_ln_ratio", "mean_ln_ratio_stderr", "correlation",
           "reference_perplexity", "reference_perplexity_stderr")  # fmt: skip


def estimates_json(summary: Summary) -> dict[str, Any]:
    """Every figure by its name, those with an interval followed by it; null where nothing was compared."""
    found = summary.comparison
    document: dict[str, Any] = {}
    for name in ESTIMATES:
        estimate = Estimate(0.0) if found is None else getattr(found, name)
        document[name] = None if found is None else estimate.value
        document[f"{name}_interval"] = estimate.interval
    return {**document, **{name: None if found is None else getattr(found, name) for name in NUMBERS}}


def perplexity_json(summary: Summary) -> dict[str, Any]:
    return {
        "perplexity": summary.perplexity.value, "perplexity_stderr": summary.perplexity_stderr,
        "perplexity_interval": summary.perplexity.interval, "tokens": summary.tokens, "chunks": summary.chunks,
    }  # fmt: skip


def print_texts(evaluation: Evaluation) -> None:
    """A row for each model on each text, and on all with equal weight, where there is more than one text."""
    if len(evaluation.texts) == 1:
        return
    rows = []
    for model in evaluation.models:
        named = [*(name for name, _ in evaluation.texts), "macro average"]
        for name, summary in zip(named, [*model.by_text, model.overall], strict=True):
            found = summary.comparison
            compared = ("", "", "")
            if found is not None:
                compared = (
                    f"{found.perplexity_ratio.value:.4f}", f"{found.kld_mean.value:.5f}",
                    share(found.top1.value),
                )  # fmt: skip
            rows.append((str(model.subject.path), name, str(summary.chunks), plus_minus(summary), *compared))
    headings = ("model", "text", "chunks", "perplexity", "ratio", "mean KLD", "same top")
    kept = 7 if any(row[-1] for row in rows) else 4
    sys.stdout.write("\n")
    print_table(headings[:kept], [row[:kept] for row in rows], frozenset(headings[2:]))


def plus_minus(summary: Summary) -> str:
    return f"{summary.perplexity.value:.4f} +/- {summary.perplexity_stderr:.4f}"


def share(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f} %"


def interval(estimate: Estimate, digits: int, scale: float = 1.0, unit: str = "") -> str:
    if estimate.interval is None:
        return "too few chunks"
    low, high = estimate.interval
    return f"{low * scale:.{digits}f} to {high * scale:.{digits}f}{unit}"


def write_report(path: Path | None, content: str | bytes, guard: Guard) -> None:
    """The file whole, or as it was; nothing where no path is given. Characters no file can hold are spelled out."""
    if path is None:
        return
    write_whole(path, content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"), guard)

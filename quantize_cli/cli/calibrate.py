"""quantize calibrate: collect what a model's matrices multiply while it reads a text, by column."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.experts import ranges
from quantize_cli.cli.terminal.options import Force, Json, ModelPath, ReadChunks, ReadContext, Special
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import note, print_json, print_table, warn

if TYPE_CHECKING:
    from quantize_cli.calibration.statistics.findings import Finding

_SHOWN = 5
"""Weights with outliers that are listed."""


def command(
    model: ModelPath,
    text: Annotated[
        list[Path] | None,
        Option("--text", metavar="FILE", help="A UTF-8 text to read; repeatable."),
    ] = None,
    output: Annotated[
        Path, Option("-o", "--output", metavar="OUT", help="Where to write the importance matrix.")
    ] = Path("imatrix.gguf"),
    ctx: ReadContext = None,
    chunks: ReadChunks = None,
    process_output: Annotated[bool, Option("--process-output", help="Collect for output.weight as well.")] = False,
    merge: Annotated[
        list[Path] | None,
        Option("--merge", metavar="FILE", help="Add the sums and counts of this file; repeatable."),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Continue OUT where it ends, if it is there.")] = False,
    save_every: Annotated[int, Option("--save-every", min=1, metavar="N", help="Write OUT after each N chunks.")] = 32,
    special: Special = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Collect an importance matrix: what MODEL's matrices multiply while it reads texts, by llama.cpp's protocol."""
    from quantize_cli import api
    from quantize_cli.calibration.statistics.findings import find

    start = time.monotonic()
    done = api.calibrate(
        model, text or (), output, context=ctx, chunks=chunks, special=special, process_output=process_output,
        merge=merge or (), resume=resume, save_every=save_every, force=force, report=report(quiet=json),
    )  # fmt: skip
    seconds, file = time.monotonic() - start, done.importance
    findings = find(file.entries)
    if json:
        print_json({
            "output": str(output), "model": str(model), "ctx": file.context, "chunks": file.chunks,
            "resumed": done.resumed, "datasets": file.datasets,
            "tensors": [_finding_json(finding) for finding in findings],
            "merged": [str(path) for path in merge or ()], "seconds": round(seconds, 3),
        })  # fmt: skip
        return
    if done.resumed:
        note(f"{done.resumed} chunks were there already")
    of = f"of {file.context} tokens" if file.context else "of several sizes"
    note(f"wrote {output}: {len(findings)} weights, {file.chunks} chunks {of}, in {seconds:.1f} s")
    _print_outliers(findings)
    _print_unreached(findings)


def _finding_json(finding: "Finding") -> dict[str, object]:
    return {
        "name": finding.name, "matrices": finding.matrices, "columns": finding.columns, "inputs": finding.inputs,
        "coverage": finding.coverage, "unreached": finding.experts_without_tokens, "outliers": finding.outliers,
        "worst_matrix": finding.worst[0], "worst_channel": finding.worst[1], "worst_ratio": finding.worst_ratio,
    }  # fmt: skip


def _print_outliers(findings: "Sequence[Finding]") -> None:
    """The weights with the channels farthest above the others."""
    from quantize_cli.calibration.statistics.findings import OUTLIER

    outlying = sorted((it for it in findings if it.outliers), key=lambda it: -it.worst_ratio)
    if not outlying:
        sys.stdout.write(f"no channel has more than {OUTLIER} times the median mean square of its matrix\n")
        return
    rows = [
        (it.name, _channel(it), f"{it.worst_ratio:.0f}", f"{it.outliers} of {it.matrices * it.columns}")
        for it in outlying[:_SHOWN]
    ]
    print_table(("outliers", "worst channel", "times the median", f"above {OUTLIER} times"), rows)
    if len(outlying) > _SHOWN:
        sys.stdout.flush()
        note(f"{len(outlying) - _SHOWN} more weights have outliers, --json lists them")


def _channel(finding: "Finding") -> str:
    matrix, channel = finding.worst
    return str(channel) if finding.matrices == 1 else f"{channel} of expert {matrix}"


def _print_unreached(findings: "Sequence[Finding]") -> None:
    """Experts that the text did not reach, whose importance is therefore unknown."""
    partial = [it for it in findings if it.experts_without_tokens]
    if not partial:
        return
    sys.stdout.write("\n")
    rows = [(it.name, f"{100 * it.coverage:.2f} %", ranges(it.experts_without_tokens)) for it in partial]
    print_table(("partly reached", "coverage", "experts never reached"), rows)
    sys.stdout.flush()
    warn("where an expert was never reached all its columns count alike; a longer or other text may reach it")

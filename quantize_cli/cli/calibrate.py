"""quantize calibrate: what a model's matrices are given while it reads a text, so that errors there count for more."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from quantize_cli.cli.terminal.options import Force, Json, ModelPath, Special

_SHOWN = 5
"""Weights with outliers that are listed."""


def command(
    model: ModelPath,
    text: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--text", metavar="FILE", help="A UTF-8 text to read; repeatable."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="Where to write the importance matrix.")
    ] = Path("imatrix.gguf"),
    ctx: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--ctx", help="Tokens per chunk. Default 512, or what the model was trained on if that is less."),
    ] = None,
    chunks: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--chunks", help="Read only the first so many chunks of each text."),
    ] = None,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Collect for output.weight as well.")
    ] = False,
    merge: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--merge", metavar="FILE", help="Add the sums and counts of this file; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with OUT where it ends, if it is there.")] = False,
    save_every: Annotated[
        int, typer.Option("--save-every", min=1, metavar="N", help="Write OUT after each N chunks.")
    ] = 32,
    special: Special = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Collect an importance matrix: what MODEL's matrices are given while it reads texts, by llama.cpp's protocol."""
    from quantize_cli.calibration.statistics.calibration import Request, prepare, run
    from quantize_cli.cli.terminal.progress import progress
    from quantize_cli.cli.terminal.text import note, warn

    texts, merged = tuple(text or ()), tuple(merge or ())
    outputs = _places(output, (model, *texts, *merged), resume, force)
    start = time.monotonic()
    request = Request(
        model, texts, output, ctx, chunks, process_output, resume, merged, save_every, special, outputs.guard
    )  # fmt: skip
    prepared = prepare(request, note)
    for warning in prepared.warnings:
        warn(warning)
    outputs.sweep((output,))
    with progress(len(prepared.chunks) - prepared.done, " chunks", model.name, json) as advance:
        found = run(prepared, advance)
    _report(prepared, found, time.monotonic() - start, json)


def _places(output: Path, inputs: Sequence[Path], resume: bool, force: bool) -> Any:
    from quantize_cli.cli.terminal.text import note
    from quantize_cli.errors import UsageError
    from quantize_cli.pipeline.outputs import Outputs

    if resume and force:
        raise UsageError("--resume and --force: one goes on with OUT, the other replaces it")
    outputs = Outputs(inputs, force, note, "--resume goes on with it, --force replaces it")
    if resume:
        outputs.going_on_with(output)
    outputs.refuse_bad((output,))
    return outputs


def _report(prepared: Any, file: Any, seconds: float, json: bool) -> None:
    from quantize_cli.calibration.statistics.findings import find
    from quantize_cli.cli.terminal.text import note, print_json

    findings, request = find(file.entries), prepared.request
    if json:
        print_json({
            "output": str(request.output), "model": str(request.model), "ctx": file.context, "chunks": file.chunks,
            "resumed": prepared.done, "datasets": file.datasets, "tensors": [_finding_json(it) for it in findings],
            "merged": [str(path) for path in request.merge], "seconds": round(seconds, 3),
        })  # fmt: skip
        return
    if prepared.done:
        note(f"{prepared.done} chunks were there already")
    of = f"of {file.context} tokens" if file.context else "of several sizes"
    note(f"wrote {request.output}: {len(findings)} weights, {file.chunks} chunks {of}, in {seconds:.1f} s")
    _print_outliers(findings)
    _print_unreached(findings)


def _finding_json(finding: Any) -> dict[str, Any]:
    return {
        "name": finding.name, "matrices": finding.matrices, "columns": finding.columns, "inputs": finding.inputs,
        "coverage": finding.coverage, "unreached": finding.unreached, "outliers": finding.outliers,
        "worst_matrix": finding.worst[0], "worst_channel": finding.worst[1], "worst_ratio": finding.worst_ratio,
    }  # fmt: skip


def _print_outliers(findings: Sequence[Any]) -> None:
    """The weights with the channels farthest above the others."""
    from quantize_cli.calibration.statistics.findings import OUTLIER
    from quantize_cli.cli.terminal.text import note, print_table

    found = sorted((it for it in findings if it.outliers), key=lambda it: -it.worst_ratio)
    if not found:
        sys.stdout.write(f"no channel has more than {OUTLIER} times the median mean square of its matrix\n")
        return
    rows = [
        (it.name, _place(it), f"{it.worst_ratio:.0f}", f"{it.outliers} of {it.matrices * it.columns}")
        for it in found[:_SHOWN]
    ]
    print_table(("outliers", "worst channel", "times the median", f"above {OUTLIER} times"), rows)
    if len(found) > _SHOWN:
        sys.stdout.flush()
        note(f"{len(found) - _SHOWN} more weights have outliers, --json lists them")


def _place(finding: Any) -> str:
    matrix, channel = finding.worst
    return str(channel) if finding.matrices == 1 else f"{channel} of expert {matrix}"


def _print_unreached(findings: Sequence[Any]) -> None:
    """Experts that the text did not reach, whose importance is therefore unknown."""
    from quantize_cli.cli.terminal.experts import ranges
    from quantize_cli.cli.terminal.text import print_table, warn

    found = [it for it in findings if it.unreached]
    if not found:
        return
    sys.stdout.write("\n")
    rows = [(it.name, f"{100 * it.coverage:.2f} %", ranges(it.unreached)) for it in found]
    print_table(("partly reached", "coverage", "experts never reached"), rows)
    sys.stdout.flush()
    warn("where an expert was never reached all its columns count alike; a longer or other text may reach it")

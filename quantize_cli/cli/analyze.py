"""quantize analyze: what rounding each tensor costs, and why."""

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from quantize_cli.cli.terminal.options import Force, HtmlFile, Json, ModelPath, Special, Texts

_CHUNKS, _TOKENS_RUN = 8, 1024
"""Chunks of a text unless told; tokens on which each tensor is tried."""


def command(
    model: ModelPath,
    text: Texts = None,
    ctx: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--ctx", help="Tokens per chunk. Default: 512, or what the model was trained on if that is less."),
    ] = None,
    chunks: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--chunks", help="Look at the first so many chunks of each text. Default 8."),
    ] = None,
    types: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--types", metavar="TYPE,...", help="Types that tensors may have. Default: q2_k to q8_0, and iq."),
    ] = None,
    special: Special = False,
    html: HtmlFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure what rounding each tensor of MODEL costs, and show outlier channels, experts and the sizes to be had."""
    from quantize_cli.budget import analysis
    from quantize_cli.cli.terminal.measured import write_report
    from quantize_cli.cli.terminal.text import note
    from quantize_cli.pipeline.outputs import Outputs
    from quantize_cli.report import analysis_page
    from quantize_cli.report.evaluation_page import Column

    wanted = _types(types)
    outputs = Outputs((model, *(text or ())), force, note)
    outputs.refuse_bad((html,))
    outputs.sweep((html,))
    opened, tokens = _opened(model, text or [], ctx, _CHUNKS if chunks is None else chunks, special)
    found = _measured(opened, tokens, wanted, quiet=json)
    frontier = analysis.frontier(opened, found)
    rows = _rows(found, wanted)
    if html is not None:
        columns = [Column(heading, [row[heading] for row in rows]) for heading in rows[0]]
        title = f"quantize analyze: {model.name}"
        texts = [str(path) for path in text or []]
        write_report(html, analysis_page.document(title, found, frontier, columns, texts), outputs.guard)
    if json:
        _print_json(model, tokens, found, frontier)
    else:
        _print(rows, found, frontier)


def _types(names: str | None) -> tuple[Any, ...]:
    from quantize_cli.budget.sensitivity import TYPES
    from quantize_cli.pipeline.budget import named_types

    return TYPES if names is None else named_types(names.split(","))


def _opened(path: Path, texts: list[Path], ctx: int | None, limit: int, special: bool) -> tuple[Any, Any]:
    """The model, and the chunks of the texts; InputError before long work."""
    from quantize_cli.budget.options import menu
    from quantize_cli.cli.terminal.text import warn
    from quantize_cli.errors import UsageError
    from quantize_cli.evaluation import context as contexts
    from quantize_cli.evaluation.corpus import Reading, read_texts
    from quantize_cli.model.source import open_model
    from quantize_cli.tokenizers import load_tokenizer

    if not texts:
        raise UsageError("missing option '--text'", hint="--text FILE, a UTF-8 text to predict")
    model = open_model(path)
    for warning in model.warnings:
        warn(warning)
    menu(model, {})  # refuses what is quantized already
    context = contexts.chosen(ctx, [model])
    for warning in contexts.beyond(context, [model]):
        warn(warning)
    chunks, _ = read_texts(texts, load_tokenizer(model.metadata), context, limit, Reading(special, warn))
    return model, chunks


def _measured(model: Any, chunks: Any, types: tuple[Any, ...], quiet: bool) -> Any:
    from quantize_cli.budget.options import quantized
    from quantize_cli.budget.sensitivity import Effort, measure
    from quantize_cli.cli.terminal.progress import progress

    effort = Effort(chunks=max(1, _TOKENS_RUN // chunks.shape[1]))
    with progress(len(quantized(model)), " tensors", "analyze", quiet) as advance:
        return measure(model, chunks, types, report=advance, effort=effort)


def _rows(found: Any, types: tuple[Any, ...]) -> list[dict[str, str]]:
    """The table's rows, by heading, without columns that are empty."""
    rows = [_row(tensor, types) for tensor in found.tensors]
    kept = [heading for heading in rows[0] if any(row[heading] for row in rows)]
    return [{heading: row[heading] for heading in kept} for row in rows]


def _row(tensor: Any, types: tuple[Any, ...]) -> dict[str, str]:
    """A tensor as a row of the table, by heading; a type that another stands in for has its loss in brackets."""
    from quantize_cli.budget import analysis
    from quantize_cli.pipeline.recipe import fitting

    seen, routed = analysis.outliers(tensor), analysis.experts(tensor)
    row = {"tensor": tensor.name}
    for type_ in types:
        fitted = fitting(type_, tensor.shape[-1])[0]
        loss = tensor.losses.get(fitted)
        said = "" if loss is None else f"{loss:.1e}"
        row[type_.name.lower()] = said if fitted is type_ or not said else f"({said})"
    row["outliers"] = "" if seen is None else f"{seen.count} ({seen.largest:.0f}x)"
    row["experts met"] = "" if routed is None else f"{(routed > 0).sum()} of {len(routed)}"
    return row


def _print(rows: list[dict[str, str]], found: Any, frontier: Any) -> None:
    from quantize_cli.budget import analysis
    from quantize_cli.cli.terminal.text import print_table, size

    headings = tuple(rows[0])
    print_table(headings, [tuple(row.values()) for row in rows], frozenset(headings[1:]))
    sys.stdout.write("\n")
    sums = analysis.by_layer(found)
    total = sum(sums.values()) or 1.0
    print_table(
        ("layer", "loss", "share"),
        [("none" if n < 0 else str(n), f"{loss:.1e}", f"{100 * loss / total:.1f} %") for n, loss in sums.items()],
        frozenset({"loss", "share"}),
    )
    sys.stdout.write("\n")
    print_table(
        ("bits per weight", "best file", "predicted KLD"),
        [(f"{bits:g}", size(point.nbytes), f"{point.loss:.5f}") for bits, point in frontier.at.items()],
        frozenset({"best file", "predicted KLD"}),
    )


def _print_json(path: Path, chunks: Any, found: Any, frontier: Any) -> None:
    from quantize_cli.budget import analysis
    from quantize_cli.cli.terminal.text import print_json

    print_json({
        "model": str(path), "ctx": chunks.shape[1], "chunks": len(chunks), "tokens": found.tokens,
        "tokens_run": found.tokens_run,
        "tensors": [_tensor_json(tensor) for tensor in found.tensors],
        "layers": [{"layer": None if n < 0 else n, "loss": loss} for n, loss in analysis.by_layer(found).items()],
        "frontier": [{"nbytes": point.nbytes, "kld": point.loss} for point in frontier.best],
        "uniform": [
            {"type": type_.name, "nbytes": point.nbytes, "kld": point.loss} for type_, point in frontier.uniform.items()
        ],
    })  # fmt: skip


def _tensor_json(tensor: Any) -> dict[str, Any]:
    from quantize_cli.budget import analysis

    seen = analysis.outliers(tensor)
    return {
        "name": tensor.name, "layer": None if tensor.layer < 0 else tensor.layer, "shape": tensor.shape,
        "losses": {type_.name: loss for type_, loss in tensor.losses.items()},
        "errors": {type_.name: error for type_, error in tensor.errors.items()},
        "run": sorted(type_.name for type_ in tensor.run),
        "outlier_channels": None if seen is None else seen.count,
        "largest_channel": None if seen is None else seen.largest, "experts": analysis.experts(tensor),
    }  # fmt: skip

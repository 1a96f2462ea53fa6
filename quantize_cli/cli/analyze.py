"""quantize analyze: what rounding each tensor costs, and why."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.options import Force, HtmlFile, Json, ModelPath, ReadContext, Special, Texts
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import print_json, print_table, size

if TYPE_CHECKING:
    from quantize_cli.api import Analysis
    from quantize_cli.budget.sensitivity import Sensitivity
    from quantize_cli.formats.ggml import GgmlType


def command(
    model: ModelPath,
    text: Texts = None,
    ctx: ReadContext = None,
    chunks: Annotated[
        int, Option("--chunks", show_default=False, help="Look at the first so many chunks of each text. Default 8.")
    ] = 8,
    types: Annotated[
        str | None,
        Option("--types", metavar="TYPE,...", help="Types that tensors may have. Default: q2_k to q8_0, and iq."),
    ] = None,
    special: Special = False,
    html: HtmlFile = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Measure what rounding each tensor of MODEL costs, and show outlier channels, experts and the sizes to be had."""
    from quantize_cli import api
    from quantize_cli.cli.terminal.measured import columns_of, outputs_for, print_rows, write_report

    texts = text or []
    outputs = outputs_for((model, *texts), (html,), force)
    named = () if types is None else types.split(",")
    analysis = api.analyze(
        model, texts, types=named, context=ctx, chunks=chunks, special=special, report=report(quiet=json)
    )
    rows = _rows(analysis)
    if html is not None:
        from quantize_cli.report import analysis_page

        title, names = f"quantize analyze: {model.name}", list(map(str, texts))
        page = analysis_page.document(title, analysis.sensitivities, analysis.frontier, columns_of(rows), names)
        write_report(html, page, outputs.guard)
    if json:
        _print_json(model, analysis)
    else:
        print_rows(rows)
        _print_sums(analysis)


def _rows(analysis: "Analysis") -> list[dict[str, str]]:
    """The table's rows, by heading, without columns that are empty."""
    rows = [_row(tensor, analysis.types) for tensor in analysis.sensitivities.tensors]
    kept = [heading for heading in rows[0] if any(row[heading] for row in rows)]
    return [{heading: row[heading] for heading in kept} for row in rows]


def _row(tensor: "Sensitivity", types: "tuple[GgmlType, ...]") -> dict[str, str]:
    """A tensor as a row of the table, by heading; a type that another stands in for has its loss in brackets."""
    from quantize_cli.budget.analysis import experts, outliers
    from quantize_cli.pipeline.fallbacks import fitting

    seen, routed = outliers(tensor), experts(tensor)
    row = {"tensor": tensor.name}
    for type_ in types:
        fitted = fitting(type_, tensor.shape[-1])[0]
        loss = tensor.losses.get(fitted)
        cell = "" if loss is None else f"{loss:.1e}"
        row[type_.name.lower()] = cell if fitted is type_ or not cell else f"({cell})"
    row["outliers"] = "" if seen is None else f"{seen.count} ({seen.largest:.0f}x)"
    row["experts met"] = "" if routed is None else f"{(routed > 0).sum()} of {len(routed)}"
    return row


def _print_sums(analysis: "Analysis") -> None:
    from quantize_cli.budget.analysis import by_layer

    sys.stdout.write("\n")
    sums = by_layer(analysis.sensitivities)
    total = sum(sums.values()) or 1.0
    print_table(
        ("layer", "loss", "share"),
        [("none" if n < 0 else str(n), f"{loss:.1e}", f"{100 * loss / total:.1f} %") for n, loss in sums.items()],
        frozenset({"loss", "share"}),
    )
    sys.stdout.write("\n")
    print_table(
        ("bits per weight", "best file", "predicted KLD"),
        [(f"{bits:g}", size(point.nbytes), f"{point.loss:.5f}") for bits, point in analysis.frontier.at.items()],
        frozenset({"best file", "predicted KLD"}),
    )


def _print_json(path: Path, analysis: "Analysis") -> None:
    from quantize_cli.budget.analysis import by_layer

    costs, frontier = analysis.sensitivities, analysis.frontier
    layers = by_layer(costs)
    print_json({
        "model": str(path), "ctx": analysis.context, "chunks": analysis.chunks, "tokens": costs.tokens,
        "tokens_run": costs.tokens_run, "tensors": [_tensor_json(tensor) for tensor in costs.tensors],
        "layers": [{"layer": None if n < 0 else n, "loss": loss} for n, loss in layers.items()],
        "frontier": [{"nbytes": point.nbytes, "kld": point.loss} for point in frontier.best],
        "uniform": [
            {"type": type_.name, "nbytes": point.nbytes, "kld": point.loss} for type_, point in frontier.uniform.items()
        ],
    })  # fmt: skip


def _tensor_json(tensor: "Sensitivity") -> dict[str, object]:
    from quantize_cli.budget.analysis import experts, outliers

    seen = outliers(tensor)
    return {
        "name": tensor.name, "layer": None if tensor.layer < 0 else tensor.layer, "shape": tensor.shape,
        "losses": {type_.name: loss for type_, loss in tensor.losses.items()},
        "errors": {type_.name: error for type_, error in tensor.errors.items()},
        "run": sorted(type_.name for type_ in tensor.run),
        "outlier_channels": None if seen is None else seen.count,
        "largest_channel": None if seen is None else seen.largest, "experts": experts(tensor),
    }  # fmt: skip

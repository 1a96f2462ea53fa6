"""The report of an analysis: what rounding each tensor costs, outlier channels, experts, and the possible sizes."""

from collections.abc import Callable, Sequence
from math import nan
from typing import TYPE_CHECKING

from quantize_cli.budget import analysis
from quantize_cli.budget.analysis import Frontier
from quantize_cli.budget.sensitivity import Sensitivities, Sensitivity
from quantize_cli.report import chart
from quantize_cli.report.chart import Series
from quantize_cli.report.pages import Column, Figure, render

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_SENSITIVE = 6


def document(
    title: str, costs: Sensitivities, frontier: Frontier, columns: Sequence[Column], texts: Sequence[str]
) -> str:
    """The page; `columns` is the table of its tensors, as it is printed."""
    return render(
        "analysis_page.html",
        title=title,
        costs=costs,
        figures=_figures(costs, frontier),
        drawings=_charts(costs, frontier),
        columns=columns,
        texts=texts,
        outlier=analysis.OUTLIER,
    )


def _figures(costs: Sensitivities, frontier: Frontier) -> list[tuple[str, str, str]]:
    worst = max(costs.tensors, key=analysis.loss)
    total = sum(analysis.loss(tensor) for tensor in costs.tensors)
    small, large = frontier.best[0], frontier.best[-1]
    marked = [tensor for tensor in costs.tensors if (seen := analysis.outliers(tensor)) is not None and seen.count]
    share = 100 * analysis.loss(worst) / total if total else 0.0
    return [
        ("most sensitive tensor", worst.name.removesuffix(".weight"), f"{share:.0f} % of all tensors' loss"),
        ("smallest file", f"{small.nbytes / 1e6:.2f} MB", f"predicted KL divergence {small.loss:.3g}"),
        ("largest file", f"{large.nbytes / 1e6:.2f} MB", f"predicted KL divergence {large.loss:.3g}"),
        ("outlier channels", str(len(marked)), f"tensors have some, of {len(costs.tensors)}"),
    ]


def _charts(costs: Sensitivities, frontier: Frontier) -> list[Figure]:
    layered = [tensor for tensor in costs.tensors if tensor.layer >= 0]
    charts = [_sizes(frontier), _worst(costs)]
    if layered:
        charts.append(Figure("Loss by layer", _grid(layered, analysis.loss, "KL divergence")))
        charts.append(Figure("Outliers by layer", _grid(layered, _largest, "largest channel / median")))
    if routed := _routed(layered):
        charts.append(Figure("Experts by layer", routed))
    return charts


def _sizes(frontier: Frontier) -> Figure:
    series = [Series("the best choice", [(point.nbytes / 1e6, point.loss) for point in frontier.best], 0)]
    if len(frontier.uniform) > 1:
        points = [(point.nbytes / 1e6, point.loss) for point in frontier.uniform.values()]
        series.append(Series("one type for all", points, 1))
    x = chart.axis("size in MB", [x for one in series for x, _ in one.points])
    y = chart.axis("predicted KL divergence", [value for one in series for _, value in one.points], is_log=True)
    return Figure("Size against loss", chart.lines(series, x, y), [(one.colour, one.name) for one in series])


def _worst(costs: Sensitivities) -> Figure:
    """The tensors that cost most, each a bar."""
    ordered = sorted(costs.tensors, key=analysis.loss, reverse=True)[:_MOST_SENSITIVE]
    bars = [
        (f"{tensor.name}: {analysis.loss(tensor):.3g}", [(0, f"{analysis.loss(tensor):.3g}", analysis.loss(tensor))])
        for tensor in ordered
    ]
    return Figure("Most sensitive tensors", chart.stacked(bars))


def _largest(tensor: Sensitivity) -> float:
    seen = analysis.outliers(tensor)
    return nan if seen is None else seen.largest


def _grid(tensors: Sequence[Sensitivity], value: Callable[[Sensitivity], float], what: str) -> "Markup":
    """A row for each layer, a column for each of its tensors."""
    layers = sorted({tensor.layer for tensor in tensors})
    parts = list(dict.fromkeys(analysis.part_of(tensor) for tensor in tensors))
    values = {(tensor.layer, analysis.part_of(tensor)): value(tensor) for tensor in tensors}
    cells = [[values.get((layer, part), nan) for part in parts] for layer in layers]
    names = [part.removeprefix("attn_").removeprefix("ffn_") for part in parts]
    return chart.grid([str(layer) for layer in layers], names, cells, what)


def _routed(tensors: Sequence[Sensitivity]) -> "Markup | None":
    """Which share of the tokens each expert is sent, by layer; nothing without experts."""
    shares = {tensor.layer: analysis.experts(tensor) for tensor in tensors if analysis.experts(tensor) is not None}
    rows = [(layer, share.tolist()) for layer, share in sorted(shares.items()) if share is not None]
    if not rows:
        return None
    count = max(len(row) for _, row in rows)
    cells = [row + [nan] * (count - len(row)) for _, row in rows]
    return chart.grid([str(layer) for layer, _ in rows], [str(n) for n in range(count)], cells, "share of tokens")

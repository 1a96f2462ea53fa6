"""The report of an evaluation: the figures of its models, their limits, and charts."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.evaluation import Evaluation, ModelResult
from quantize_cli.evaluation.gate import Outcome
from quantize_cli.evaluation.summary import by_position
from quantize_cli.report import chart
from quantize_cli.report.chart import Series
from quantize_cli.report.junit import interval_text
from quantize_cli.report.pages import Column, Figure, render

_LEAST_DIVERGENCE = 1e-8
"""Smaller divergences come from rounding, and are drawn as this."""
_BINS, _POSITIONS = 48, 32
_Coloured = Sequence[tuple[int, ModelResult]]
"""Models with their colours, which are the same in every chart."""


def document(title: str, evaluation: Evaluation, columns: Sequence[Column], outcomes: Sequence[Outcome] = ()) -> str:
    """The page; `columns` is the table of its models, as it is printed."""
    return render(
        "evaluation_page.html",
        title=title,
        reference=evaluation.reference_name,
        tokens=evaluation.models[0].overall.tokens,
        chunks=sum(count for _, count in evaluation.texts),
        context=evaluation.context,
        figures=_figures(evaluation),
        limits=[_limit(outcome) for outcome in outcomes],
        several=len({outcome.text for outcome in outcomes}) > 1,
        columns=columns,
        by_text=_by_text(evaluation),
        drawings=_charts(evaluation),
        texts=[f"{name}: {count} chunks" for name, count in evaluation.texts],
    )


def _figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """The figures of a single compared model. Several models have a table alone."""
    compared = [model for model in evaluation.models if not model.is_reference]
    if len(compared) != 1:
        return []
    overall = compared[0].overall
    figures = [("perplexity", overall.perplexity, 1.0, "")]
    if overall.comparison is not None:
        comparison = overall.comparison
        figures += [
            ("perplexity ratio", comparison.perplexity_ratio, 1.0, ""),
            ("mean KL divergence", comparison.kld_mean, 1.0, ""),
            ("99 % KL divergence", comparison.kld_p99, 1.0, ""), ("same top token", comparison.top1, 100.0, " %"),
            ("RMS change of p", comparison.rms_delta_p, 100.0, " %"),
        ]  # fmt: skip
    return [
        (name, f"{estimate.value * scale:.4g}{unit}", _interval(estimate, scale))
        for name, estimate, scale, unit in figures
    ]


def _interval(estimate: Estimate, scale: float) -> str:
    if estimate.interval is None:
        return "too few chunks for an interval"
    low, high = estimate.interval
    return f"95 %: {low * scale:.4g} to {high * scale:.4g}"


def _limit(outcome: Outcome) -> tuple[str, str, str, str]:
    """The verdict, the limit, what was measured, and the text."""
    side = "from" if outcome.gate.is_minimum else "to"
    limit = f"{outcome.gate.option} {side} {outcome.gate.limit:g}"
    return outcome.verdict.value, limit, interval_text(outcome.estimate), outcome.text


def _by_text(evaluation: Evaluation) -> list[Column]:
    """A row for each text and model, where there is more than one text."""
    if len(evaluation.texts) == 1:
        return []
    rows: list[tuple[str, ...]] = []
    for model in evaluation.models:
        for (text, _), summary in zip(evaluation.texts, model.by_text, strict=True):
            comparison = summary.comparison
            compared = ("", "", "")
            if comparison is not None:
                compared = (
                    f"{comparison.perplexity_ratio.value:.4f}", f"{comparison.kld_mean.value:.5f}",
                    f"{100 * comparison.top1.value:.2f} %",
                )  # fmt: skip
            rows.append((text, model.subject.path.name, f"{summary.perplexity.value:.4f}", *compared))
    headings = ("text", "model", "perplexity", "ratio", "mean KLD", "same top")
    return [Column(heading, cells) for heading, *cells in zip(headings, *rows, strict=True)]


def _charts(evaluation: Evaluation) -> list[Figure]:
    models = list(enumerate(evaluation.models))
    compared = [(colour, model) for colour, model in models if model.scores.against is not None]
    figures = [_distribution(compared), _positions(compared)] if compared else [_nll(models)]
    if len(models) > 1:
        figures.append(_sizes(models))
    return [*figures, _types(evaluation.models)]


def _divergences(model: ModelResult) -> np.ndarray:
    assert model.scores.against is not None
    divergence: np.ndarray = np.maximum(np.nan_to_num(model.scores.against.divergence, nan=np.inf), _LEAST_DIVERGENCE)
    return divergence


def _distribution(models: _Coloured) -> Figure:
    """The share of tokens by their divergence, as outlines over powers of ten."""
    logs = [np.log10(_divergences(model)).ravel() for _, model in models]
    logs = [values[np.isfinite(values)] for values in logs]
    low = min((float(np.quantile(values, 0.001)) for values in logs if values.size), default=-1.0)
    high = max((float(values.max()) for values in logs if values.size), default=0.0)
    edges = np.linspace(low, max(high, low + 0.5), _BINS + 1)
    series = []
    for (colour, model), values in zip(models, logs, strict=True):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        shares = 100 * counts / max(1, values.size)
        corners = [(10**x, share) for left, right, share in zip(edges, edges[1:], shares, strict=False)
                   for x, share in ((left, share), (right, share))]  # fmt: skip
        series.append(Series(_name(model), corners, colour))
    x = chart.Axis("KL divergence of a token", 10 ** edges[0], 10 ** edges[-1], True)
    y = chart.axis("% of tokens", [point[1] for one in series for point in one.points], from_zero=True)
    return _figure("Distribution of the divergence", chart.lines(series, x, y, filled=True), models)


def _positions(models: _Coloured) -> Figure:
    """The mean divergence by the position in the chunk, which shows whether it grows with the context."""
    series = [Series(_name(model), _curve(_divergences(model)), colour) for colour, model in models]
    return _figure("Divergence by position", _by_position(series, "mean KL divergence"), models)


def _nll(models: _Coloured) -> Figure:
    series = [Series(_name(model), _curve(model.scores.nll), colour) for colour, model in models]
    return _figure("Surprise by position", _by_position(series, "mean -ln p"), models)


def _curve(values: np.ndarray) -> list[tuple[float, float]]:
    middles, means = by_position(values, _POSITIONS)
    # Of a context of n tokens n - n // 2 - 1 are scored, so the first of them stands behind n // 2 others.
    first = values.shape[1] + 1
    return [(float(middle) + first, float(mean)) for middle, mean in zip(middles, means, strict=True)]


def _by_position(series: Sequence[Series], title: str) -> Markup:
    values = [value for one in series for _, value in one.points if np.isfinite(value)] or [1.0]
    far_apart = min(values) > 0 and max(values) > 20 * min(values)
    x = chart.axis("position in the chunk", [x for one in series for x, _ in one.points])
    return chart.lines(series, x, chart.axis(title, values, is_log=far_apart, from_zero=not far_apart))


def _sizes(models: _Coloured) -> Figure:
    """What each megabyte buys."""
    series = [_point(colour, model) for colour, model in models]
    losses = [one.points[0][1] for one in series if np.isfinite(one.points[0][1])]
    # The loss of a reference is zero, which a logarithmic axis cannot show.
    is_log = max(losses, default=0) > 20 * min((loss for loss in losses if loss > 0), default=1)
    kept = [i for i, one in enumerate(series) if np.isfinite(loss := one.points[0][1]) and (loss or not is_log)]
    shown = [series[i] for i in kept]
    values = [value for one in shown for value in (one.points[0][1], *(one.interval or ()))]
    x = chart.axis("size in MB", [one.points[0][0] for one in shown], from_zero=True)
    y = chart.axis("mean KL divergence", values, is_log=is_log, from_zero=not is_log)
    return _figure("Size against loss", chart.points(shown, x, y), [models[i] for i in kept])


def _point(colour: int, model: ModelResult) -> Series:
    comparison = model.overall.comparison
    loss = Estimate(0.0) if comparison is None else comparison.kld_mean
    return Series(_name(model), [(model.subject.nbytes / 1e6, loss.value)], colour, loss.interval)


def _types(models: Sequence[ModelResult]) -> Figure:
    names = list(dict.fromkeys(name for model in models for name in model.subject.types))
    bars = [
        (
            f"{_name(model)}: {sum(model.subject.types.values()) / 1e6:.2f} MB",
            [(names.index(name), f"{name}: {nbytes} bytes", nbytes) for name, nbytes in model.subject.types.items()],
        )
        for model in models
    ]
    return Figure("Tensors by type", chart.stacked(bars), list(enumerate(names)))


def _figure(title: str, drawing: Markup, models: _Coloured) -> Figure:
    return Figure(title, drawing, [(colour, _name(model)) for colour, model in models])


def _name(model: ModelResult) -> str:
    return model.subject.path.name

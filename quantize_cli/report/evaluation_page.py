"""A report as one HTML page that stands alone: styles and drawings are in it, it runs no script and asks for nothing.

Its content policy forbids any request, so that a name taken from a file could not cause one either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

import numpy as np

from quantize_cli.evaluation.bootstrap import Estimate
from quantize_cli.evaluation.evaluation import Evaluation, Measured
from quantize_cli.evaluation.gate import Outcome
from quantize_cli.evaluation.summary import by_position
from quantize_cli.report import chart
from quantize_cli.report.chart import Series
from quantize_cli.report.junit import interval_text

_LEAST_DIVERGENCE = 1e-8
"""What is smaller is rounding, and drawn as this."""
_BINS, _POSITIONS = 48, 32
_Coloured = Sequence[tuple[int, Measured]]
"""Models with their colours, which are the same in every chart."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Column:
    """One column of the table of models."""

    heading: str
    cells: Sequence[str]


def document(title: str, evaluation: Evaluation, columns: Sequence[Column], outcomes: Sequence[Outcome] = ()) -> str:
    """The page; `columns` is the table of its models, as it is printed."""
    return whole(title, [
        _head(title, evaluation), _cards(evaluation), _verdicts(outcomes), table("Models", columns),
        _texts(evaluation), '<div class="charts">', *_charts(evaluation), "</div>", _footer(evaluation),
    ])  # fmt: skip


def whole(title: str, parts: Sequence[str]) -> str:
    """A page of these parts, which are HTML; empty ones are left out."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _head(title: str, evaluation: Evaluation) -> str:
    against = "" if evaluation.reference_name is None else f" against {escape(evaluation.reference_name)}"
    tokens = evaluation.models[0].overall.tokens
    chunks = sum(count for _, count in evaluation.texts)
    return (
        f"<h1>{escape(title)}</h1>\n<p>Measured{against} on {tokens} tokens: the second halves of {chunks} "
        f"chunks of {evaluation.context} tokens.</p>"
    )


def _cards(evaluation: Evaluation) -> str:
    """The figures of the one model that is compared; a table has room for more of them."""
    compared = [model for model in evaluation.models if not model.is_reference]
    if len(compared) != 1:
        return ""
    overall = compared[0].overall
    figures = [("perplexity", overall.perplexity, 1.0, "")]
    if overall.comparison is not None:
        found = overall.comparison
        figures += [
            ("perplexity ratio", found.perplexity_ratio, 1.0, ""), ("mean KL divergence", found.kld_mean, 1.0, ""),
            ("99 % KL divergence", found.kld_p99, 1.0, ""), ("same top token", found.top1, 100.0, " %"),
            ("RMS change of p", found.rms_delta_p, 100.0, " %"),
        ]  # fmt: skip
    return cards([
        (name, f"{estimate.value * scale:.4g}{unit}", _interval(estimate, scale))
        for name, estimate, scale, unit in figures
    ])  # fmt: skip


def cards(figures: Sequence[tuple[str, str, str]]) -> str:
    """What, how much, and a remark on it."""
    drawn = "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(remark)}</small></div>'
        for name, value, remark in figures
    )
    return f'<div class="cards">{drawn}</div>'


def _interval(estimate: Estimate, scale: float) -> str:
    if estimate.interval is None:
        return "too few chunks for an interval"
    low, high = estimate.interval
    return f"95 %: {low * scale:.4g} to {high * scale:.4g}"


def _verdicts(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    several = len({outcome.text for outcome in outcomes}) > 1

    def text(outcome: Outcome) -> str:
        return f"<td>{escape(outcome.text)}</td>" if several else ""

    rows = "".join(
        f'<tr><td><span class="verdict {outcome.verdict.value}">{outcome.verdict.value}</span></td>'
        f"<td>{escape(outcome.gate.option)} {'from' if outcome.gate.is_least else 'to'} {outcome.gate.limit:g}</td>"
        f"<td>{escape(interval_text(outcome.estimate))}</td>{text(outcome)}</tr>"
        for outcome in outcomes
    )
    head = (
        f"<tr><th>verdict</th><th>limit</th><th>measured, 95 % interval</th>{'<th>text</th>' if several else ''}</tr>"
    )
    return f'<section><h2>Limits</h2><div class="wide"><table class="limits">{head}{rows}</table></div></section>'


def table(title: str, columns: Sequence[Column]) -> str:
    """A table under a heading, which scrolls by itself where it is wide."""
    head = "".join(f"<th{_kind(column)}>{escape(column.heading)}</th>" for column in columns)
    cells = [[f"<td{_kind(column)}>{escape(cell)}</td>" for cell in column.cells] for column in columns]
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*cells, strict=True))
    return f'<section><h2>{title}</h2><div class="wide"><table><tr>{head}</tr>{rows}</table></div></section>'


def _kind(column: Column) -> str:
    """Words are put to the left, numbers to the right."""
    return ' class="words"' if column.heading in ("model", "text", "tensor") else ""


def _texts(evaluation: Evaluation) -> str:
    """A row for each text and model, where there is more than one text."""
    if len(evaluation.texts) == 1:
        return ""
    rows: list[tuple[str, ...]] = []
    for model in evaluation.models:
        for (text, _), summary in zip(evaluation.texts, model.by_text, strict=True):
            found = summary.comparison
            compared = ("", "", "")
            if found is not None:
                compared = (
                    f"{found.perplexity_ratio.value:.4f}", f"{found.kld_mean.value:.5f}",
                    f"{100 * found.top1.value:.2f} %",
                )  # fmt: skip
            rows.append((text, model.subject.path.name, f"{summary.perplexity.value:.4f}", *compared))
    headings = ("text", "model", "perplexity", "ratio", "mean KLD", "same top")
    columns = [Column(heading, cells) for heading, *cells in zip(headings, *rows, strict=True)]
    return table("Texts", columns)


def _charts(evaluation: Evaluation) -> list[str]:
    models = list(enumerate(evaluation.models))
    compared = [(colour, model) for colour, model in models if model.scores.against is not None]
    found = [_distribution(compared), _positions(compared)] if compared else [_nll(models)]
    if len(models) > 1:
        found.append(_sizes(models))
    return [*found, _types(evaluation.models)]


def _divergences(model: Measured) -> np.ndarray:
    assert model.scores.against is not None
    divergence: np.ndarray = np.maximum(np.nan_to_num(model.scores.against.divergence, nan=np.inf), _LEAST_DIVERGENCE)
    return divergence


def _distribution(models: _Coloured) -> str:
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


def _positions(models: _Coloured) -> str:
    """The mean divergence by the place in the chunk: what grows there, grows with the context."""
    series = [Series(_name(model), _curve(_divergences(model)), colour) for colour, model in models]
    return _figure("Divergence by position", _by_position(series, "mean KL divergence"), models)


def _nll(models: _Coloured) -> str:
    series = [Series(_name(model), _curve(model.scores.nll), colour) for colour, model in models]
    return _figure("Surprise by position", _by_position(series, "mean -ln p"), models)


def _curve(values: np.ndarray) -> list[tuple[float, float]]:
    middles, means = by_position(values, _POSITIONS)
    # Of a context of n tokens n - n // 2 - 1 are scored, so the first of them stands behind n // 2 others.
    first = values.shape[1] + 1
    return [(float(middle) + first, float(mean)) for middle, mean in zip(middles, means, strict=True)]


def _by_position(series: Sequence[Series], title: str) -> str:
    values = [value for one in series for _, value in one.points if np.isfinite(value)] or [1.0]
    far_apart = min(values) > 0 and max(values) > 20 * min(values)
    x = chart.axis("position in the chunk", [place for one in series for place, _ in one.points])
    return chart.lines(series, x, chart.axis(title, values, is_log=far_apart, from_zero=not far_apart))


def _sizes(models: _Coloured) -> str:
    """What each megabyte buys."""
    series = [_point(colour, model) for colour, model in models]
    losses = [one.points[0][1] for one in series if np.isfinite(one.points[0][1])]
    # A reference loses nothing, which has no place on an axis of powers of ten.
    is_log = max(losses, default=0) > 20 * min((loss for loss in losses if loss > 0), default=1)
    kept = [place for place, one in enumerate(series) if np.isfinite(loss := one.points[0][1]) and (loss or not is_log)]
    shown = [series[place] for place in kept]
    values = [value for one in shown for value in (one.points[0][1], *(one.interval or ()))]
    x = chart.axis("size in MB", [one.points[0][0] for one in shown], from_zero=True)
    y = chart.axis("mean KL divergence", values, is_log=is_log, from_zero=not is_log)
    return _figure("Size against loss", chart.points(shown, x, y), [models[place] for place in kept])


def _point(colour: int, model: Measured) -> Series:
    found = model.overall.comparison
    loss = Estimate(0.0) if found is None else found.kld_mean
    return Series(_name(model), [(model.subject.nbytes / 1e6, loss.value)], colour, loss.interval)


def _types(models: Sequence[Measured]) -> str:
    names = list(dict.fromkeys(name for model in models for name in model.subject.types))
    bars = [
        (
            f"{_name(model)}: {sum(model.subject.types.values()) / 1e6:.2f} MB",
            [(names.index(name), f"{name}: {nbytes} bytes", nbytes) for name, nbytes in model.subject.types.items()],
        )
        for model in models
    ]
    return figure("Tensors by type", chart.stacked(bars), list(enumerate(names)))


def _figure(title: str, drawing: str, models: _Coloured) -> str:
    return figure(title, drawing, [(colour, _name(model)) for colour, model in models])


def figure(title: str, drawing: str, names: Sequence[tuple[int, str]]) -> str:
    """A drawing with its heading, and what its colours stand for."""
    keys = "".join(f'<li><i class="s{colour % chart.COLOURS}"></i>{escape(name)}</li>' for colour, name in names)
    return f"<figure><h2>{title}</h2>{drawing}<ul>{keys}</ul></figure>"


def _name(model: Measured) -> str:
    return model.subject.path.name


def _footer(evaluation: Evaluation) -> str:
    listed = "".join(f"<li>{escape(name)}: {count} chunks</li>" for name, count in evaluation.texts)
    return (
        f"<footer><h2>Texts</h2><ul>{listed}</ul><p>Intervals hold 95 %, by bootstrap over chunks. The divergence is "
        "the sum of p (ln p - ln q) over the vocabulary, p being the reference's and q the model's probability.</p>"
        "</footer>"
    )

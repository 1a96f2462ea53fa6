"""Small charts as SVG, 400 units wide, so that their text can be read on a telephone.

Colours are classes, `s0` to `s7`, that the page's style sheet gives for a light and a dark background.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from markupsafe import Markup

from quantize_cli.report.pages import COLOURS, render

_WIDTH, _HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 30, 42
_TICKS = 4
_BAR, _BAR_GAP = 20, 32
_HEAD, _LEAST_CELL, _LABEL_ROOM = 54, 5, 15
"""Of a grid: the room above it, the least height of a cell, and the height of a label."""


@dataclass(frozen=True)
class _Mark:
    """An element of a drawing, with its text, and the title that is shown under the pointer."""

    tag: str
    attributes: Mapping[str, object]
    text: str = ""
    title: str = ""
    parts: "Sequence[_Mark]" = ()


@dataclass(frozen=True)
class Series:
    """A named line, or a named point with the interval of its y."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, by powers of ten if `is_log`."""

    title: str
    low: float
    high: float
    is_log: bool = False

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        low, high, at = (log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if self.is_log:
            first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1, max(1, ceil((last - first) / 6)))]
        raw = (self.high - self.low) / _TICKS
        power = 10.0 ** floor(log10(raw))
        step: float = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        return [step * count for count in range(ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9) + 1)]


def axis(title: str, values: Iterable[float], is_log: bool = False, from_zero: bool = False) -> Axis:
    """An axis that covers `values`, without those that are not finite, or not positive on a logarithmic axis."""
    kept = [value for value in values if isfinite(value) and (value > 0 or not is_log)] or [1.0]
    low, high = min(kept), max(kept)
    if is_log:
        return Axis(title, 10 ** floor(log10(low / 1.5)), 10 ** ceil(log10(high * 1.5)), True)
    room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    return Axis(title, 0.0 if from_zero else low - room, high + room)


def lines(series: Sequence[Series], x: Axis, y: Axis, filled: bool = False) -> Markup:
    """A line for each; `filled` shades what lies below it."""
    drawn = []
    for one in series:
        points = [_at(x, y, *point) for point in one.points if isfinite(point[1]) and (point[1] > 0 or not y.is_log)]
        if not points:
            continue
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        if filled:
            base = _HEIGHT - _BOTTOM
            area = f"{points[0][0]:.1f},{base} {path} {points[-1][0]:.1f},{base}"
            drawn.append(_Mark("polygon", {"class": f"area {_colour(one.colour)}", "points": area}))
        line = _Mark("polyline", {"class": f"line {_colour(one.colour)}", "points": path})
        drawn.append(_Mark("g", {}, title=one.name, parts=[line]))
    return _framed(x, y, drawn)


def points(series: Sequence[Series], x: Axis, y: Axis) -> Markup:
    """A labelled point for each, with a bar over its interval."""
    return _framed(x, y, [_point(one, x, y) for one in series])


def _point(one: Series, x: Axis, y: Axis) -> _Mark:
    ((value, loss),) = one.points
    across, down = _at(x, y, value, loss)
    parts = []
    if one.interval is not None:
        low, high = (_at(x, y, value, max(end, y.low) if y.is_log else end)[1] for end in one.interval)
        parts.append(_line(f"line {_colour(one.colour)}", (across, across), (low, high)))
    dot = {"class": f"dot {_colour(one.colour)}", "cx": f"{across:.1f}", "cy": f"{down:.1f}", "r": 5}
    side, shift = ("end", -9) if x.position(value) > 0.6 else ("start", 9)
    label = _text(f"label {side}", across + shift, down - 5, _cut(one.name, 34))
    return _Mark("g", {}, title=f"{one.name}: {value:.4g}, {loss:.4g}", parts=[*parts, _Mark("circle", dot), label])


def stacked(bars: Sequence[tuple[str, Sequence[tuple[int, str, float]]]]) -> Markup:
    """A horizontal bar for each name, of parts (colour, label, amount); the longest bar fills the width."""
    longest = max(sum(amount for _, _, amount in parts) for _, parts in bars) or 1.0
    drawn, height = [], len(bars) * (_BAR + _BAR_GAP) - _BAR_GAP + 24
    for row, (name, parts) in enumerate(bars):
        top, across = row * (_BAR + _BAR_GAP) + 18, 0.0
        drawn.append(_text("label", 0, top - 7, _cut(name)))
        for colour, label, amount in parts:
            width = amount / longest * _WIDTH
            drawn.append(_bar(colour, (across, top), (max(width - 1, 0.5), _BAR), label))
            across += width
    return _svg(height, drawn)


def grid(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], what: str) -> Markup:
    """A cell for each value. Larger values are darker, by their logarithm; without a positive number a cell is empty.

    `what` names the values, before their range.
    """
    kept = [value for row in values for value in row if isfinite(value) and value > 0] or [1.0]
    low, high = log10(min(kept)), log10(max(kept))
    across, down = (_WIDTH - _LEFT) / len(columns), max(_LEAST_CELL, min(_BAR, 2 * _HEIGHT / len(rows)))
    drawn = [_text("title", 0, 12, f"{what}: {min(kept):.2g} to {max(kept):.2g}")]
    drawn += _grid_labels(rows, columns, across, down)
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        for j, (column, value) in enumerate(zip(columns, row, strict=True)):
            if isfinite(value) and value > 0:
                shade = 0.06 + 0.94 * ((log10(value) - low) / (high - low) if high > low else 1)
                corner, size = (_LEFT + j * across, _HEAD + i * down), (across * 0.96, down * 0.94)
                drawn.append(_bar(0, corner, size, f"{name}, {column}: {value:.3g}", shade))
    return _svg(_HEAD + len(rows) * down + 4, drawn)


def _grid_labels(rows: Sequence[str], columns: Sequence[str], across: float, down: float) -> list[_Mark]:
    """Names of rows and columns, as many as fit. Those of columns alternate between two lines."""
    drawn = []
    for i in range(0, len(rows), ceil(_LABEL_ROOM / down)):
        drawn.append(_text("tick end", _LEFT - 6, _HEAD + (i + 0.5) * down + 4, rows[i]))
    for shown, j in enumerate(range(0, len(columns), ceil(2 * _LABEL_ROOM / across))):
        drawn.append(_text("tick middle", _LEFT + (j + 0.48) * across, 32 + 15 * (shown % 2), _cut(columns[j], 12)))
    return drawn


def _framed(x: Axis, y: Axis, drawn: Sequence[_Mark]) -> Markup:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    frame = [_text("title", 0, _TOP - 17, y.title)]
    for tick in y.ticks():
        down = _at(x, y, x.low, tick)[1]
        frame += [_line("grid", (_LEFT, right), (down, down)), _text("tick end", _LEFT - 6, down + 4, _number(tick))]
    for tick in x.ticks():
        across = _at(x, y, tick, y.low)[0]
        frame.append(_line("grid", (across, across), (bottom, bottom + 4)))
        frame.append(_text("tick middle", across, bottom + 17, _number(tick)))
    frame.append(_line("axis", (_LEFT, right), (bottom, bottom)))
    frame.append(_text("title end", right, _HEIGHT - 6, x.title))
    return _svg(_HEIGHT, [*frame, *drawn])


def _text(kind: str, x: float, y: float, text: str) -> _Mark:
    return _Mark("text", {"class": kind, "x": f"{x:.1f}", "y": f"{y:.1f}"}, text)


def _line(kind: str, x: tuple[float, float], y: tuple[float, float]) -> _Mark:
    ends = {"x1": x[0], "x2": x[1], "y1": y[0], "y2": y[1]}
    return _Mark("line", {"class": kind, **{name: f"{value:.1f}" for name, value in ends.items()}})


def _bar(
    colour: int, corner: tuple[float, float], size: tuple[float, float], title: str, opacity: float | None = None
) -> _Mark:
    box = dict(zip(("x", "y", "width", "height"), (f"{value:.1f}" for value in (*corner, *size)), strict=True))
    shade = None if opacity is None else f"{opacity:.2f}"
    return _Mark("rect", {"class": f"bar {_colour(colour)}", "fill-opacity": shade, **box}, title=title)


def _svg(height: float, marks: Sequence[_Mark]) -> Markup:
    return render("drawing.svg", width=_WIDTH, height=f"{height:.0f}", marks=marks)


def _at(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + x.position(across) * width, _TOP + (1 - y.position(up)) * height


def _colour(index: int) -> str:
    return f"s{index % COLOURS}"


def _cut(name: str, longest: int = 56) -> str:
    """The end of a name that is too long: names of one kind differ at their ends."""
    return name if len(name) <= longest else f"...{name[3 - longest :]}"


def _number(value: float) -> str:
    """As short as it goes: 0.001, 1e-05, 2000."""
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")

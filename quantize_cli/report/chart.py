"""Small charts as SVG, drawn in a box 400 wide so that their words can still be read on a telephone.

Colours are classes, `s0` to `s7`, that the page's style sheet gives for a light and a dark background.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

COLOURS = 8
_WIDTH, _HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 30, 42
_TICKS = 4
_BAR, _BAR_GAP = 20, 32
_HEAD, _LEAST_CELL, _LABEL_ROOM = 54, 5, 15
"""Of a grid: the room above it, the least height of a cell, and what a label takes."""


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

    def place(self, value: float) -> float:
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
    """An axis on which all `values` have room; those that are not finite, or cannot be on it, are left out."""
    kept = [value for value in values if isfinite(value) and (value > 0 or not is_log)] or [1.0]
    low, high = min(kept), max(kept)
    if is_log:
        return Axis(title, 10 ** floor(log10(low / 1.5)), 10 ** ceil(log10(high * 1.5)), True)
    room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    return Axis(title, 0.0 if from_zero else low - room, high + room)


def lines(series: Sequence[Series], x: Axis, y: Axis, filled: bool = False) -> str:
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
            drawn.append(f'<polygon class="area {_colour(one.colour)}" points="{area}"/>')
        line = f'<polyline class="line {_colour(one.colour)}" points="{path}"/>'
        drawn.append(f"<g><title>{escape(one.name)}</title>{line}</g>")
    return _framed(x, y, drawn)


def points(series: Sequence[Series], x: Axis, y: Axis) -> str:
    """A labelled point for each, with a bar over its interval."""
    drawn = []
    for one in series:
        across, down = _at(x, y, *one.points[0])
        parts = [f"<title>{escape(one.name)}: {one.points[0][0]:.4g}, {one.points[0][1]:.4g}</title>"]
        if one.interval is not None:
            ends = [_at(x, y, one.points[0][0], max(end, y.low) if y.is_log else end)[1] for end in one.interval]
            parts.append(
                f'<line class="line {_colour(one.colour)}" x1="{across:.1f}" x2="{across:.1f}" '
                f'y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
            )
        parts.append(f'<circle class="dot {_colour(one.colour)}" cx="{across:.1f}" cy="{down:.1f}" r="5"/>')
        side = "end" if x.place(one.points[0][0]) > 0.6 else "start"
        shift = -9 if side == "end" else 9
        label = escape(_cut(one.name, 34))
        parts.append(f'<text class="label {side}" x="{across + shift:.1f}" y="{down - 5:.1f}">{label}</text>')
        drawn.append(f"<g>{''.join(parts)}</g>")
    return _framed(x, y, drawn)


def stacked(bars: Sequence[tuple[str, Sequence[tuple[int, str, float]]]]) -> str:
    """A horizontal bar for each name, of parts (colour, label, amount); the longest bar fills the width."""
    longest = max(sum(amount for _, _, amount in parts) for _, parts in bars) or 1.0
    drawn, height = [], len(bars) * (_BAR + _BAR_GAP) - _BAR_GAP + 24
    for row, (name, parts) in enumerate(bars):
        top, across = row * (_BAR + _BAR_GAP) + 18, 0.0
        drawn.append(f'<text class="label" x="0" y="{top - 7}">{escape(_cut(name))}</text>')
        for colour, label, amount in parts:
            width = amount / longest * _WIDTH
            drawn.append(
                f'<rect class="bar {_colour(colour)}" x="{across:.1f}" y="{top}" width="{max(width - 1, 0.5):.1f}" '
                f'height="{_BAR}"><title>{escape(label)}</title></rect>'
            )
            across += width
    return _svg(height, drawn)


def grid(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], what: str) -> str:
    """A cell for each value, the larger the darker by its logarithm; one that is no number above zero stays empty.

    `what` says what the values are, in front of the range they have.
    """
    kept = [value for row in values for value in row if isfinite(value) and value > 0] or [1.0]
    low, high = log10(min(kept)), log10(max(kept))
    across, down = (_WIDTH - _LEFT) / len(columns), max(_LEAST_CELL, min(_BAR, 2 * _HEIGHT / len(rows)))
    drawn = [f'<text class="title" x="0" y="12">{escape(what)}: {min(kept):.2g} to {max(kept):.2g}</text>']
    drawn += _grid_labels(rows, columns, across, down)
    for at, (name, row) in enumerate(zip(rows, values, strict=True)):
        for place, (column, value) in enumerate(zip(columns, row, strict=True)):
            if isfinite(value) and value > 0:
                shade = 0.06 + 0.94 * ((log10(value) - low) / (high - low) if high > low else 1)
                drawn.append(
                    f'<rect class="bar s0" fill-opacity="{shade:.2f}" x="{_LEFT + place * across:.1f}" '
                    f'y="{_HEAD + at * down:.1f}" width="{across * 0.96:.1f}" height="{down * 0.94:.1f}">'
                    f"<title>{escape(f'{name}, {column}: {value:.3g}')}</title></rect>"
                )
    return _svg(_HEAD + len(rows) * down + 4, drawn)


def _grid_labels(rows: Sequence[str], columns: Sequence[str], across: float, down: float) -> list[str]:
    """Names of rows and columns, as many as have room; those of columns in two lines by turns."""
    drawn = []
    for at in range(0, len(rows), ceil(_LABEL_ROOM / down)):
        middle = _HEAD + (at + 0.5) * down + 4
        drawn.append(f'<text class="tick end" x="{_LEFT - 6}" y="{middle:.1f}">{escape(rows[at])}</text>')
    for shown, place in enumerate(range(0, len(columns), ceil(2 * _LABEL_ROOM / across))):
        middle, line = _LEFT + (place + 0.48) * across, 32 + 15 * (shown % 2)
        label = escape(_cut(columns[place], 12))
        drawn.append(f'<text class="tick middle" x="{middle:.1f}" y="{line}">{label}</text>')
    return drawn


def _framed(x: Axis, y: Axis, drawn: Sequence[str]) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    frame = [f'<text class="title" x="0" y="{_TOP - 17}">{escape(y.title)}</text>']
    for tick in y.ticks():
        down = _at(x, y, x.low, tick)[1]
        frame.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}"/>')
        frame.append(f'<text class="tick end" x="{_LEFT - 6}" y="{down + 4:.1f}">{_number(tick)}</text>')
    for tick in x.ticks():
        across = _at(x, y, tick, y.low)[0]
        frame.append(f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        frame.append(f'<text class="tick middle" x="{across:.1f}" y="{bottom + 17}">{_number(tick)}</text>')
    frame.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    frame.append(f'<text class="title end" x="{right}" y="{_HEIGHT - 6}">{escape(x.title)}</text>')
    return _svg(_HEIGHT, [*frame, *drawn])


def _svg(height: float, drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">{"".join(drawn)}</svg>'


def _at(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + x.place(across) * width, _TOP + (1 - y.place(up)) * height


def _colour(index: int) -> str:
    return f"s{index % COLOURS}"


def _cut(name: str, longest: int = 56) -> str:
    """The end of a name that is too long, where names of one kind differ."""
    return name if len(name) <= longest else f"...{name[3 - longest :]}"


def _number(value: float) -> str:
    """As short as it goes: 0.001, 1e-05, 2000."""
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")

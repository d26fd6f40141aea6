"""Accuracy against measured time as one SVG file: a curve per variant, spreads over seeds, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from clprune.errors import UsageError
from tools.compare.curves import front
from tools.compare.results import Point

WIDTH, HEIGHT = 960, 600
#: In user units of the drawing.
LEFT, TOP, RIGHT, BOTTOM = 70, 56, 230, 60

#: By method; others are black.
COLOURS = {
    "filter": "#d62728",
    "block": "#ff7f0e",
    "balanced": "#bcbd22",
    "nm": "#8c564b",
    "unstructured": "#7f7f7f",
    "wavefront": "#1f77b4",
    "workgroup": "#17becf",
    "bcbp": "#2ca02c",
    "mixed": "#9467bd",
}

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1c2430; } .title { font-size: 17px; font-weight: 600; }
.grid { stroke: #d9dfe7; } .axis { fill: #5d6b7c; } .front { stroke: #1c2430; stroke-width: 7; opacity: .13;
  fill: none; stroke-linejoin: round; } .dense { fill: #1c2430; }
"""

TICKS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)


class _Scales:
    """From time over the dense one's (logarithmic) and accuracy (0 to 1) to places in the drawing."""

    def __init__(self, places: Sequence[tuple[float, float]]) -> None:
        times = [time for time, _ in places]
        self.fastest, self.slowest = min(times) / 1.15, max(times) * 1.15
        lowest = min(accuracy for _, accuracy in places)
        self.bottom = max(math.floor(10 * (lowest - 0.02)) / 10, 0.0)
        self.top = 1.0

    def x(self, time: float) -> float:
        share = math.log(time / self.fastest) / math.log(self.slowest / self.fastest)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def plot(points: Sequence[Point], *, title: str, subtitle: str) -> str:
    """The drawing of all points that have a time. Raises UsageError where none has."""
    measured = [point for point in points if "time_ratio" in point.times]
    if not measured:
        raise UsageError("no times to plot: expected at least one variant that was measured")
    dense = (1.0, measured[0].dense_accuracy)
    scales = _Scales([*((point.times["time_ratio"], point.accuracy.mean) for point in measured), dense])
    groups: dict[str, list[Point]] = {}
    for point in measured:
        groups.setdefault(point.variant, []).append(point)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text class="axis" x="{LEFT}" y="43">{escape(subtitle)}</text>',
        *_axes(scales),
        _front(scales, [*measured], dense=dense),
        *(part for group in groups.values() for part in _curve(scales, group)),
        _marker(scales.x(dense[0]), scales.y(dense[1]), colour="#1c2430", filled=True, note="dense", size=6),
        *_legend(groups),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axes(scales: _Scales) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in TICKS:
        if scales.fastest <= tick <= scales.slowest:
            x = scales.x(tick)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
            parts.append(f'<text class="axis" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    step = 0.1 if scales.top - scales.bottom > 0.35 else 0.05
    for number in range(round((scales.top - scales.bottom) / step) + 1):
        accuracy = scales.bottom + number * step
        y = scales.y(accuracy)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * accuracy:.0f} %</text>'
        )
    middle = (LEFT + right) / 2
    caption = "time over the dense network's (logarithmic)"
    parts.append(f'<text class="axis" x="{middle}" y="{bottom + 44}" text-anchor="middle">{caption}</text>')
    return parts


def _front(scales: _Scales, measured: Sequence[Point], *, dense: tuple[float, float]) -> str:
    places = [(point.accuracy.mean, point.times["time_ratio"]) for point in measured]
    edge = front([*places, (dense[1], dense[0])])
    path = " ".join(f"{scales.x(time):.1f},{scales.y(accuracy):.1f}" for accuracy, time in edge)
    return f'<polyline class="front" points="{path}"><title>Pareto front</title></polyline>'


def _curve(scales: _Scales, group: Sequence[Point]) -> list[str]:
    ordered = sorted(group, key=lambda point: point.sparsity)
    colour, permuted = COLOURS.get(ordered[0].method, "#000000"), ordered[0].permute
    places = [(scales.x(point.times["time_ratio"]), scales.y(point.accuracy.mean)) for point in ordered]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="5 4"' if permuted else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>']
    for point, (x, y) in zip(ordered, places, strict=True):
        spread = point.accuracy
        low, high = scales.y(spread.mean - spread.deviation), scales.y(spread.mean + spread.deviation)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
        time = point.times["time_ratio"]
        note = f"{point.variant}, {100 * point.sparsity:g} %: accuracy {spread.text(scale=100)} %, time {time:.3f}"
        parts.append(_marker(x, y, colour=colour, filled=not permuted, note=note, size=4))
    return parts


def _marker(x: float, y: float, *, colour: str, filled: bool, note: str, size: int) -> str:
    fill = colour if filled else "#ffffff"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{fill}" stroke="{colour}" stroke-width="1.6">'
        f"<title>{escape(note)}</title></circle>"
    )


def _legend(groups: dict[str, list[Point]]) -> list[str]:
    x, parts = WIDTH - RIGHT + 24, []
    entries = [(name, group[0]) for name, group in groups.items()]
    for number, (name, point) in enumerate(entries):
        y, colour = TOP + 12 + 22 * number, COLOURS.get(point.method, "#000000")
        dashes = ' stroke-dasharray="5 4"' if point.permute else ""
        parts.append(f'<line x1="{x}" x2="{x + 26}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="1.6"{dashes}/>')
        parts.append(_marker(x + 13, y, colour=colour, filled=not point.permute, note=name, size=4))
        parts.append(f'<text x="{x + 34}" y="{y + 4}">{escape(name)}</text>')
    y = TOP + 12 + 22 * len(entries)
    parts.append(_marker(x + 13, y, colour="#1c2430", filled=True, note="dense", size=6))
    parts.append(f'<text x="{x + 34}" y="{y + 4}">dense</text>')
    parts.append(f'<line class="front" x1="{x}" x2="{x + 26}" y1="{y + 22}" y2="{y + 22}"/>')
    parts.append(f'<text x="{x + 34}" y="{y + 26}">Pareto front</text>')
    return parts

"""Bar charts as inline SVG: no library, no script, colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LEFT, TOP, BOTTOM, RIGHT = 56, 12, 34, 12
PLOT_HEIGHT = 190
#: All in user units of the drawing, which is scaled to the width of the page.
WIDTH = 820


@dataclass(frozen=True, kw_only=True)
class Series:
    """One value per label under one name; `style` is a class of the page's style sheet. None: no bar."""

    name: str
    values: Sequence[float | None]
    style: str


def bar_chart(*, title: str, labels: Sequence[str], series: Sequence[Series], unit: str) -> str:
    """A chart with a group of bars for each label, and a legend where there is more than one series.

    `unit` stands behind the values ("ms", "%").
    """
    highest = max((value for one in series for value in one.values if value is not None), default=0.0)
    ticks = axis_ticks(highest)
    height = TOP + PLOT_HEIGHT + BOTTOM
    parts = [
        f"<figure><figcaption>{escape(title)}{_legend(series)}</figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        *(_tick(tick, top=ticks[-1], unit=unit) for tick in ticks),
        *_bars(labels, series, top=ticks[-1], unit=unit),
        "</svg></figure>",
    ]
    return "\n".join(parts)


def axis_ticks(highest: float) -> tuple[float, ...]:
    """Round numbers from 0 to at least `highest`, three to six of them."""
    if highest <= 0:
        return (0.0, 1.0)
    magnitude = 10.0 ** math.floor(math.log10(highest))
    step = next(part * magnitude for part in (0.2, 0.5, 1.0, 2.0) if highest / (part * magnitude) <= 5)
    return tuple(index * step for index in range(math.ceil(highest / step - 1e-9) + 1))


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    keys = (f'<span class="key {one.style}"></span>{escape(one.name)}' for one in series)
    return f'<span class="legend">{" ".join(keys)}</span>'


def _y(value: float, top: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - value / top)


def _tick(tick: float, *, top: float, unit: str) -> str:
    y = _y(tick, top)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g} {escape(unit)}</text>'
    )


def _bars(labels: Sequence[str], series: Sequence[Series], *, top: float, unit: str) -> list[str]:
    slot = (WIDTH - LEFT - RIGHT) / max(len(labels), 1)
    bar = min(slot * 0.7 / max(len(series), 1), 34.0)
    parts = []
    every = math.ceil(len(labels) / 24)  # more labels than these would run into each other
    for place, label in enumerate(labels):
        middle = LEFT + slot * (place + 0.5)
        if place % every == 0:
            y = TOP + PLOT_HEIGHT + 20
            parts.append(f'<text class="axis" x="{middle:.1f}" y="{y}" text-anchor="middle">{escape(label)}</text>')
        for number, one in enumerate(series):
            value = one.values[place]
            if value is None:
                continue
            x, y_top = middle + bar * (number - len(series) / 2), _y(value, top)
            note = f"layer {label}, {one.name}: {value:.4g} {unit}"
            parts.append(
                f'<rect class="{one.style}" x="{x + 1:.1f}" y="{y_top:.1f}" width="{bar - 2:.1f}" '
                f'height="{TOP + PLOT_HEIGHT - y_top:.1f}"><title>{escape(note)}</title></rect>'
            )
    return parts

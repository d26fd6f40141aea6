"""A pruning run as one HTML file, made by `templates/pruning_report.html.mako`."""

from __future__ import annotations

import math

from clprune.pruning.report import PruningReport
from clprune.rendering import render_page


def report_page(report: PruningReport) -> str:
    """The whole page; it needs nothing but itself."""
    return render_page("pruning_report", {"report": report, "axis_ticks": axis_ticks})


def axis_ticks(highest: float) -> tuple[float, ...]:
    """Round numbers from 0 to at least `highest`, three to six of them."""
    if highest <= 0:
        return (0.0, 1.0)
    magnitude = 10.0 ** math.floor(math.log10(highest))
    step = next(part * magnitude for part in (0.2, 0.5, 1.0, 2.0) if highest / (part * magnitude) <= 5)
    return tuple(index * step for index in range(math.ceil(highest / step - 1e-9) + 1))

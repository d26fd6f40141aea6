"""A run of pruning or fitting as one HTML file, made by a template of that name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clprune.pruning.report import PruningReport
from clprune.rendering import render_page
from clprune.workflow.fit_result import FitResult


def report_page(report: PruningReport) -> str:
    """The whole page; it needs nothing but itself."""
    return render_page("pruning_report", {"report": report, "axis_ticks": axis_ticks})


def fit_page(results: Sequence[FitResult]) -> str:
    """The whole page of models that were fitted to one budget or more."""
    return render_page("fit_report", {"results": results, "axis_ticks": axis_ticks})


def axis_ticks(highest: float) -> tuple[float, ...]:
    """Round numbers from 0 to at least `highest`, three to six of them."""
    if highest <= 0:
        return (0.0, 1.0)
    magnitude = 10.0 ** math.floor(math.log10(highest))
    step = next(part * magnitude for part in (0.2, 0.5, 1.0, 2.0) if highest / (part * magnitude) <= 5)
    return tuple(index * step for index in range(math.ceil(highest / step - 1e-9) + 1))

"""Figures: ratios of times, and whether a goal is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clprune.turns import Series


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured figure beside its goal.

    `best` is of the best runs, `median` of the medians (None where there is none). `goal` is the most (`is_at_most`)
    or the least that is wanted, None for a figure that has no goal.
    """

    name: str
    best: float
    median: float | None = None
    goal: float | None = None
    is_at_most: bool = True
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        """By the best runs; None without a goal."""
        if self.goal is None:
            return None
        return self.best <= self.goal if self.is_at_most else self.best >= self.goal

    @property
    def goal_text(self) -> str:
        """Such as `<= 0.42`, or a dash."""
        return "-" if self.goal is None else f"{'<=' if self.is_at_most else '>='} {_number(self.goal)}{self.unit}"

    @property
    def met_text(self) -> str:
        """`yes`, `no`, or a dash."""
        return {None: "-", True: "yes", False: "no"}[self.is_met]

    def row(self) -> tuple[str, str, str, str, str]:
        """Cells of a table: name, best, median, goal, met."""
        median = "-" if self.median is None else f"{_number(self.median)}{self.unit}"
        return self.name, f"{_number(self.best)}{self.unit}", median, self.goal_text, self.met_text

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**vars(self), "is_met": self.is_met}


FIGURE_COLUMNS = ("figure", "best runs", "medians", "goal", "met")


def time_ratio(name: str, series: Series, others: Sequence[Series], *, goal: float | None = None) -> Figure:
    """`series` over the fastest of `others`, which is chosen for best runs and for medians apart."""
    return Figure(
        name=name,
        best=series.best_ms / min(other.best_ms for other in others),
        median=series.median_ms / min(other.median_ms for other in others),
        goal=goal,
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"

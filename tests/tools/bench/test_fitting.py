"""The sentence of the bench of fits: all methods together against the best one alone, budget by budget."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="fitting needs the extra `train`")

from tools.bench.fitting import against_best


def fit(share: float, *methods: str, lost: float, is_met: bool = True) -> dict[str, Any]:
    return {"share": share, "methods": methods, "result": {"points_lost": lost, "is_met": is_met}}


def test_the_best_that_kept_the_budget_is_the_rival() -> None:
    fits = [
        fit(0.3, "bcbp", "filter", lost=4.0),
        fit(0.3, "bcbp", lost=4.75),
        fit(0.3, "filter", lost=1.0, is_met=False),
        {"share": 0.3, "methods": ("block",), "result": "cannot be reached"},
        fit(0.5, "bcbp", "filter", lost=1.0),
        fit(0.5, "bcbp", lost=3.0),
        fit(0.5, "filter", lost=0.5),
    ]
    assert against_best(fits) == (
        " All together against the best alone that kept the budget, in points: 0.3: +0.75 (bcbp), "
        "0.5: -0.50 (filter); on the mean +0.12."
    )


def test_nothing_is_said_without_rivals() -> None:
    assert against_best([fit(0.3, "bcbp", lost=4.0)]) == ""
    assert against_best([fit(0.3, "bcbp", "filter", lost=4.0, is_met=False), fit(0.3, "bcbp", lost=5.0)]) == ""

"""How `abwsp` chooses: loss saved per millisecond, within a budget of time."""

from __future__ import annotations

import pytest

from clprune.errors import UsageError
from clprune.pruning.methods.abwsp import choose_variants
from clprune.pruning.variants import VariantCost


def costs_of(*layers: tuple[float, float, float, float]) -> dict[int, dict[str, VariantCost]]:
    """Layers as (wsp ms, wsp loss, bwsp ms, bwsp loss)."""
    return {
        index: {
            "wsp": VariantCost(time_ms=wsp_ms, loss=wsp_loss, accuracy=0.5),
            "bwsp": VariantCost(time_ms=bwsp_ms, loss=bwsp_loss, accuracy=0.5),
        }
        for index, (wsp_ms, wsp_loss, bwsp_ms, bwsp_loss) in enumerate(layers)
    }


def chosen(*layers: tuple[float, float, float, float], time_budget: float = 1.1) -> list[str]:
    return [choice.variant for choice in choose_variants(costs_of(*layers), time_budget=time_budget)]


def test_the_best_loss_per_millisecond_comes_first() -> None:
    # 10 ms with bwsp, 1 ms to spare: layer 1 saves 0.4 for 0.6 ms; then layer 0, 0.5 for 1 ms, is too slow,
    # and layer 2, 0.1 for 0.3 ms, fits
    layers = ((6.0, 0.5, 5.0, 1.0), (3.6, 0.6, 3.0, 1.0), (2.3, 0.9, 2.0, 1.0))
    assert chosen(*layers) == ["bwsp", "wsp", "wsp"]
    assert chosen(*layers, time_budget=1.2) == ["wsp", "wsp", "wsp"]
    assert chosen(*layers, time_budget=1.0) == ["bwsp", "bwsp", "bwsp"]


def test_what_is_faster_and_no_worse_is_taken_and_pays_for_others() -> None:
    assert chosen((4.0, 1.0, 5.0, 1.0), (6.0, 0.9, 5.0, 1.0), time_budget=1.0) == ["wsp", "wsp"]


def test_what_loses_is_left() -> None:
    choices = choose_variants(costs_of((4.0, 1.1, 5.0, 1.0), (9.0, 0.9, 5.0, 1.0)))
    assert [choice.variant for choice in choices] == ["bwsp", "bwsp"]
    assert choices[0].reason == "wsp's loss is 0.1 higher"
    assert choices[1].reason == "wsp's loss is 0.1 lower, but it is 4 ms slower: more than is left of the time budget"
    assert choices[0].to_dict()["wsp"] == {"time_ms": 4.0, "loss": 1.1, "accuracy": 0.5}


def test_reasons_of_what_is_taken() -> None:
    slower, faster = choose_variants(costs_of((5.1, 0.5, 5.0, 1.0), (4.0, 1.0, 5.0, 1.0)))
    assert slower.reason == "wsp's loss is 0.5 lower and it is 0.1 ms slower, which the time budget allows"
    assert faster.reason == "wsp's loss is 0 lower and it is 1 ms faster"


def test_costs_and_budget_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        choose_variants(costs_of((1, 1, 1, 1)), time_budget=0.9)
    with pytest.raises(UsageError, match="layer 0: costs of wsp; expected wsp and bwsp"):
        choose_variants({0: {"wsp": VariantCost(time_ms=1, loss=1, accuracy=1)}})

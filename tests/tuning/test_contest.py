"""Kernels that can compute one layer, in turns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from clprune.errors import BuildError
from clprune.geometry import ConvProblem
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Choice, Offer
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_operation import winograd_operation
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.tiles.records import result_key
from clprune.tiles.store import Store
from clprune.tuning.caches import Caches
from clprune.tuning.contest import rivalry, times_in_turns
from clprune.tuning.effort import effort_by_name
from clprune.tuning.spaces import Spaces
from clprune.tuning.tune import BATCH_PER_WORKER, tune
from tests.tuning.first import first_candidates

pytestmark = pytest.mark.usefixtures("quick_candidates")

TILES = 5
PROBLEM = ConvProblem.square(batch=1, in_channels=3, in_height=8, in_width=8, out_channels=4, size=3, padding=1)
DIRECT = conv_operation(PROBLEM)
DOMAIN = winograd_operation(DIRECT, output_tile=2)


@pytest.fixture
def few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spaces, "candidates", first_candidates(TILES))


def entrant(kernel: Any, operation: Any) -> tuple[Choice, Sample]:
    offer = Offer(kernel=kernel, operation=operation)
    return Choice(offer=offer, tile=kernel.safe_tile(operation)), kernel.sample(operation, offer.workload)


def layer(operation: Any, kept_share: float) -> Offer:
    return Offer(kernel=CONV, operation=operation, workload=Workload(kept_share=kept_share))


def test_rivals_are_ways_to_compute_the_same_layer() -> None:
    assert rivalry(layer(DIRECT, 0.25)) == rivalry(layer(DOMAIN, 0.25))
    assert rivalry(layer(DIRECT, 0.25)) != rivalry(layer(DIRECT, 1.0))
    assert rivalry(layer(DIRECT, 1.0)) != rivalry(layer(conv_operation(PROBLEM, pooled=True), 1.0))
    assert rivalry(layer(DIRECT, 1.0)) != rivalry(layer(conv_operation(PROBLEM, storage="float16"), 1.0))


def test_what_cannot_run_here_has_no_time(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    entrants = [entrant(CONV, DIRECT), entrant(WINOGRAD, DOMAIN)]
    times_ms = times_in_turns(device_context, Caches(device_context), entrants, rounds=2)
    assert all(time_ms is not None and time_ms > 0 for time_ms in times_ms)

    def refused(*arguments: Any) -> str:
        raise BuildError("refused", log="", source="")

    monkeypatch.setattr(type(WINOGRAD), "source", refused)
    first, second = times_in_turns(device_context, Caches(device_context), entrants, rounds=1)
    assert first is not None and second is None


@pytest.mark.parametrize(("ratio", "evaluations"), [(0.0, BATCH_PER_WORKER), (math.inf, TILES)])
def test_a_rival_far_behind_is_given_up(
    device_context: Session, few_tiles: None, ratio: float, evaluations: int
) -> None:
    """After the candidates that are tried first, its default among them; the first kernel of a layer never is."""
    effort = replace(effort_by_name("quick"), hopeless_ratio=ratio, patience=0.0)
    tasks = [Offer(kernel=kernel, operation=operation) for kernel, operation in ((CONV, DIRECT), (WINOGRAD, DOMAIN))]
    outcomes = tune(device_context, Store(None), tasks, budget_s=300, effort=effort, workers=1)
    first, second = sorted(outcomes, key=lambda outcome: -outcome.evaluations)
    assert first.evaluations >= TILES
    assert second.evaluations >= evaluations
    assert (second.evaluations < TILES) == (ratio == 0)


def test_tuning_ends_with_rivals_in_turns(
    device_context: Session, few_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their order in the list of tasks does not matter; what is stored is what was measured last."""
    alone = conv_operation(ConvProblem.square(batch=1, in_channels=1, in_height=5, in_width=5, out_channels=1, size=1))
    tasks = [
        Offer(kernel=kernel, operation=operation)
        for kernel, operation in ((CONV, DIRECT), (CONV, alone), (WINOGRAD, DOMAIN))
    ]
    asked: list[list[str]] = []

    def measured(
        session: Session, caches: Caches, entrants: list[tuple[Choice, Sample]], *, rounds: int
    ) -> list[float | None]:
        asked.append([choice.kernel.name for choice, _ in entrants])
        return [125.0, None]

    monkeypatch.setattr("clprune.tuning.tune.times_in_turns", measured)
    store = Store(None)
    outcomes = tune(device_context, store, tasks, budget_s=0.1, effort=effort_by_name("quick"), workers=1)
    assert asked == [["conv", "winograd"]]
    assert [outcome.offer.kernel.name for outcome in outcomes] == ["conv", "conv", "winograd"]
    assert outcomes[0].time_ms == 125.0 and outcomes[2].time_ms < 125.0
    best = store.best(result_key(device_context.info, Offer(kernel=CONV, operation=DIRECT)), CONV)
    assert best is not None and best[1] == 125.0

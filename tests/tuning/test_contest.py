"""Kernels that can compute one layer, in turns."""

from __future__ import annotations

from typing import Any

import pytest

from clprune.errors import BuildError
from clprune.geometry import ConvProblem
from clprune.kernels.base import Workload
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.winograd import WINOGRAD
from clprune.kernels.winograd_operation import winograd_operation
from clprune.opencl import Session
from clprune.tuning.caches import Caches
from clprune.tuning.contest import Entrant, rivalry, times_in_turns
from clprune.tuning.effort import effort_by_name
from clprune.tuning.store import Store, result_key
from clprune.tuning.tune import Task, tune

PROBLEM = ConvProblem(batch=1, in_channels=3, in_height=8, in_width=8, out_channels=4, size=3, padding=1)
DIRECT = conv_operation(PROBLEM)
DOMAIN = winograd_operation(DIRECT, output_tile=2)


def entrant(kernel: Any, operation: Any) -> Entrant:
    sample = kernel.sample(operation, Workload())
    return Entrant(kernel=kernel, operation=operation, tile=kernel.safe_tile(operation), sample=sample)


def test_rivals_are_ways_to_compute_the_same_layer() -> None:
    assert rivalry(DIRECT, 0.25) == rivalry(DOMAIN, 0.25)
    assert rivalry(DIRECT, 0.25) != rivalry(DIRECT, 1.0)
    assert rivalry(DIRECT, 1.0) != rivalry(conv_operation(PROBLEM, pooled=True), 1.0)
    assert rivalry(DIRECT, 1.0) != rivalry(conv_operation(PROBLEM, storage="float16"), 1.0)


def test_what_cannot_run_here_has_no_time(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    entrants = [entrant(CONV, DIRECT), entrant(WINOGRAD, DOMAIN)]
    times_ms = times_in_turns(device_context, Caches(device_context), entrants, rounds=2)
    assert all(time_ms is not None and time_ms > 0 for time_ms in times_ms)

    def refused(*arguments: Any) -> str:
        raise BuildError("refused", log="", source="")

    monkeypatch.setattr(type(WINOGRAD), "source", refused)
    first, second = times_in_turns(device_context, Caches(device_context), entrants, rounds=1)
    assert first is not None and second is None


def test_tuning_ends_with_rivals_in_turns(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their order in the list of tasks does not matter; what is stored is what was measured last."""
    alone = conv_operation(ConvProblem(batch=1, in_channels=1, in_height=5, in_width=5, out_channels=1, size=1))
    tasks = [
        Task(kernel=kernel, operation=operation, workload=Workload())
        for kernel, operation in ((CONV, DIRECT), (CONV, alone), (WINOGRAD, DOMAIN))
    ]
    asked: list[list[str]] = []

    def measured(session: Session, caches: Caches, entrants: list[Entrant], *, rounds: int) -> list[float | None]:
        asked.append([item.kernel.name for item in entrants])
        return [125.0, None]

    monkeypatch.setattr("clprune.tuning.tune.times_in_turns", measured)
    store = Store(None)
    outcomes = tune(device_context, store, tasks, budget_s=0.1, effort=effort_by_name("quick"), workers=1)
    assert asked == [["conv", "winograd"]]
    assert [outcome.task.kernel.name for outcome in outcomes] == ["conv", "winograd", "conv"]
    assert outcomes[0].time_ms == 125.0 and outcomes[1].time_ms < 125.0
    best = store.best(result_key(device_context.info, CONV, DIRECT, Workload()), CONV)
    assert best is not None and best[1] == 125.0

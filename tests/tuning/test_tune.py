"""The tuning loop on the device: it verifies, keeps, goes on where it stopped, and never loses to the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clprune.errors import LaunchError, UsageError
from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Offer
from clprune.kernels.connected import CONNECTED, connected_operation
from clprune.kernels.conv import CONV
from clprune.kernels.conv_operation import conv_operation
from clprune.kernels.workload import Workload
from clprune.opencl import Session
from clprune.plan.steps import Step
from clprune.tiles.lookup import Lookup
from clprune.tiles.records import result_key, tile_text
from clprune.tiles.store import Store
from clprune.tuning.effort import effort_by_name
from clprune.tuning.pool import WorkerPool
from clprune.tuning.trial import Trial
from clprune.tuning.tune import Outcome, TuneWarning, offers_to_tune, tune
from tests.tuning.kernels import FRAGILE, HANGING, STUCK, UNLUCKY, OddOperation, OddTile

pytestmark = pytest.mark.usefixtures("quick_candidates")

PROBLEM = ConvProblem.square(batch=1, in_channels=3, in_height=11, in_width=9, out_channels=16, size=3, padding=1)
CONV_TASK = Offer(kernel=CONV, operation=conv_operation(PROBLEM), workload=Workload(kept_share=0.25, unit_rows=8))
CONNECTED_TASK = Offer(
    kernel=CONNECTED,
    operation=connected_operation(ConnectedProblem(batch=1, inputs=50, outputs=33)),
    workload=Workload(),
)


def run(session: Session, store: Store, *tasks: Offer, budget_s: float = 1.0) -> list[Outcome]:
    return tune(session, store, tasks, budget_s=budget_s)


def test_winner_is_kept_and_no_slower_than_the_default(device_context: Session, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    outcomes = run(device_context, store, CONV_TASK, CONNECTED_TASK, budget_s=1.5)
    assert [outcome.offer for outcome in outcomes] == [CONV_TASK, CONNECTED_TASK]
    for outcome in outcomes:
        task = outcome.offer
        assert 0 < outcome.time_ms <= outcome.default_time_ms
        assert outcome.evaluations >= 1
        assert task.kernel.rejection(outcome.tile, task.operation, device_context.info) is None
        key = result_key(device_context.info, task)
        assert store.best(key, task.kernel) == (outcome.tile, outcome.time_ms)
        found = Lookup(store, device_context.info)(task)
        assert found == (outcome.tile, "tuned")


def test_second_run_goes_on_where_the_first_stopped(device_context: Session, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    run(device_context, store, CONNECTED_TASK, budget_s=0.3)
    key = result_key(device_context.info, CONNECTED_TASK)
    first = set(store.measurements(key, CONNECTED))
    run(device_context, store, CONNECTED_TASK, budget_s=0.3)
    assert set(store.measurements(key, CONNECTED)) > first


@pytest.mark.parametrize("leaves_none", [True, False])
def test_interrupt_keeps_what_was_found(device_context: Session, tmp_path: Path, leaves_none: bool) -> None:
    store = Store(tmp_path / "a.sqlite")
    calls = []

    def interrupt(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(device_context, store, [CONNECTED_TASK], budget_s=30, progress=interrupt, leaves_none=leaves_none)
    key = result_key(device_context.info, CONNECTED_TASK)
    assert len(store.measurements(key, CONNECTED)) == 3
    assert store.best(key, CONNECTED) is not None


def test_whole_space_with_a_driver_that_crashes(device_context: Session) -> None:
    """Every tile is tried once, failures are told apart, and a run that finds all of it known only compares."""
    store = Store(None)
    task = Offer(kernel=FRAGILE, operation=OddOperation())
    (outcome,) = run(device_context, store, task, budget_s=100)
    assert outcome.tile.mood == "fine"
    assert outcome.evaluations == 8
    assert outcome.rejected == {"runtime": 2, "correctness": 2, "compile": 2}
    assert not outcome.was_known
    key = result_key(device_context.info, task)
    words = {item.tile: item.invalidity for item in store.all_measurements()}
    assert sorted(words.values()) == ["compile"] * 2 + ["correct"] * 2 + ["correctness"] * 2 + ["runtime"] * 2
    (again,) = run(device_context, store, task, budget_s=100)
    assert (again.was_known, again.evaluations, again.tile.mood) == (True, 0, "fine")
    assert store.best(key, FRAGILE) == (again.tile, again.time_ms)
    (forced,) = tune(device_context, store, [task], budget_s=0.0, is_forced=True)
    assert forced.evaluations == 1


def test_default_is_not_blamed_for_the_end_of_its_workers(
    device_context: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept as invalid, and what cannot be tuned is said and left out, not the end of all."""
    kills = tmp_path / "kills"
    monkeypatch.setenv("ODD_KILLS", str(kills))
    task = Offer(kernel=UNLUCKY, operation=OddOperation())
    kills.write_text("3")
    (outcome,) = run(device_context, Store(None), task, budget_s=100)
    assert (kills.read_text(), outcome.rejected) == ("0", {})
    store = Store(None)
    kills.write_text("1000")
    with pytest.warns(TuneWarning, match="unlucky n7 on .* is not tuned: "):
        outcomes = tune(device_context, store, [task, CONNECTED_TASK], budget_s=0.0, workers=1)
    assert [outcome.offer for outcome in outcomes] == [CONNECTED_TASK]
    assert [item.tile for item in store.all_measurements() if item.key.kernel == "unlucky"] == []
    with pytest.warns(TuneWarning), pytest.raises(LaunchError, match="nothing was tuned"):
        tune(device_context, store, [task], budget_s=0.0, workers=1)
    kills.write_text("0")
    (outcome,) = tune(device_context, store, [task], budget_s=0.0, workers=1)
    assert outcome.tile == UNLUCKY.cpu_tiles[0]


@pytest.mark.slow
@pytest.mark.parametrize("leaves_none", [True, False])
def test_what_hangs_when_the_budget_ends_is_given_up(
    device_context: Session, leaves_none: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no fair time, so that it is not kept as invalid, and what was timed before is what counts."""
    monkeypatch.setattr("clprune.tuning.tune.FEWEST_SECONDS", 1.0)  # which are waited for twice
    # Twice the limit is more than it and what is allowed after it.
    patient = replace(effort_by_name("normal"), limit_seconds=3.0 if leaves_none else 600.0)
    settings: dict[str, Any] = {"budget_s": 1.0, "effort": patient, "leaves_none": leaves_none, "workers": 1}
    store, odd = Store(None), OddOperation()
    (outcome,) = tune(device_context, store, [Offer(kernel=HANGING, operation=odd)], **settings)
    assert (outcome.tile, outcome.rejected) == (HANGING.cpu_tiles[0], {})
    assert [item.invalidity for item in store.all_measurements()] == ["correct"]
    stuck = [Offer(kernel=STUCK, operation=replace(odd, length=length)) for length in (3, 5)]
    with (
        pytest.warns(TuneWarning, match="no tile was timed in time") as warned,
        pytest.raises(LaunchError, match=r"nothing was tuned: .* try again, or with a longer budget"),
    ):
        tune(device_context, store, stuck, **settings)
    assert len(warned) == 1  # the second is not waited for
    assert [item.key.kernel for item in store.all_measurements()] == ["hanging"]


def test_present_tile_is_tried_first_and_compared(device_context: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the time: a default that was tuned must not hide a faster tile that was there before. What is
    compared at last is kept as tried.
    """
    store, task, present = Store(None), Offer(kernel=FRAGILE, operation=OddOperation()), OddTile(repeats=1)
    store.add_device(device_context.info)
    key = result_key(device_context.info, task)
    store.set_best(key, present, workload=Workload(), time_ms=1.0, default_time_ms=2.0, origin="imported")
    compared: list[object] = []
    real = WorkerPool.run_in_turns

    def run_in_turns(pool: WorkerPool, tiles: Sequence[object], *, rounds: int) -> list[Trial]:
        compared.extend(tiles)
        return real(pool, tiles, rounds=rounds)

    monkeypatch.setattr(WorkerPool, "run_in_turns", run_in_turns)
    (outcome,) = tune(device_context, store, [task], budget_s=0.0, workers=1)
    kept = {item.tile: item for item in store.all_measurements()}
    assert list(kept) == [tile_text(present), tile_text(FRAGILE.cpu_tiles[0])]
    assert all(item.runs_ms and item.build_ms and item.relative_error == 0.0 for item in kept.values())
    assert outcome.evaluations == 2
    assert compared == [FRAGILE.cpu_tiles[0], present]
    store.add_measurement(key, present, time_ms=None, invalidity="runtime")  # as known since
    compared.clear()
    tune(device_context, store, [task], budget_s=0.0, workers=1)
    assert present not in compared


def test_similar_problem_gives_the_first_tile(device_context: Session) -> None:
    """After the default the best tile of the nearest problem is tried."""
    store, info = Store(None), device_context.info
    other = connected_operation(ConnectedProblem(batch=1, inputs=50, outputs=40))
    known = CONNECTED.candidates(CONNECTED_TASK.operation, info)[-2:]
    store.add_device(info)
    for time_ms, tile in enumerate(known, start=1):
        store.add_measurement(result_key(info, Offer(kernel=CONNECTED, operation=other)), tile, time_ms=float(time_ms))
    tune(device_context, store, [CONNECTED_TASK], budget_s=6.0, effort=effort_by_name("quick"), workers=1)
    tried = [item.tile for item in store.all_measurements() if item.key.problem == CONNECTED_TASK.operation.key]
    default = CONNECTED.default_tile(CONNECTED_TASK.operation, info)
    assert tried[:2] == [tile_text(default), tile_text(known[0])]


def test_effort_levels_grow() -> None:
    quick, normal, thorough = (effort_by_name(name) for name in ("quick", "normal", "thorough"))
    assert quick.budget_seconds(100) < 60
    assert quick.budget_seconds(12) < normal.budget_seconds(12) < thorough.budget_seconds(12)
    assert quick.budget_seconds(1) < quick.budget_seconds(2)
    with pytest.raises(UsageError, match="effort 'hasty': expected one of quick, normal, thorough"):
        effort_by_name("hasty")


def test_no_budget_still_gives_an_answer(device_context: Session, tmp_path: Path) -> None:
    (outcome,) = run(device_context, Store(tmp_path / "a.sqlite"), CONNECTED_TASK, budget_s=0.0)
    assert outcome.time_ms > 0


def test_equal_problems_are_tuned_once() -> None:
    def step(*offers: Offer) -> Step:
        return Step(layer=None, label="some", offers=offers, inputs=(), output=0)

    unlikely = Offer(kernel=CONV, operation=CONV_TASK.operation, is_likely=False)
    steps = [step(CONV_TASK, CONNECTED_TASK), step(CONNECTED_TASK), step(CONV_TASK), step(unlikely)]
    assert [(task.kernel.name, task.workload) for task in offers_to_tune(steps)] == [
        ("conv", CONV_TASK.workload),
        ("connected", Workload()),
        ("conv", Workload()),
    ]
    assert [task.workload for task in offers_to_tune(steps, likely_only=True)] == [CONV_TASK.workload, Workload()]

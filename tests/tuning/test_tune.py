"""The tuning loop on the device: it verifies, keeps, goes on where it stopped, and never loses to the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from clprune.geometry import ConnectedProblem, ConvProblem
from clprune.kernels.base import Workload
from clprune.kernels.connected import CONNECTED, connected_operation
from clprune.kernels.conv import CONV, conv_operation
from clprune.opencl import Session
from clprune.tuning.store import Store, result_key
from clprune.tuning.tune import Outcome, Task, tune, unique_tasks

PROBLEM = ConvProblem(batch=1, in_channels=3, in_height=11, in_width=9, out_channels=16, size=3, padding=1)
CONV_TASK = Task(kernel=CONV, operation=conv_operation(PROBLEM), workload=Workload(kept_share=0.25, unit_rows=8))
CONNECTED_TASK = Task(
    kernel=CONNECTED,
    operation=connected_operation(ConnectedProblem(batch=1, inputs=50, outputs=33)),
    workload=Workload(),
)


def run(session: Session, store: Store, *tasks: Task, budget_s: float = 1.0) -> list[Outcome]:
    return tune(session, store, tasks, budget_s=budget_s)


def test_winner_is_kept_and_no_slower_than_the_default(device_context: Session, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    outcomes = run(device_context, store, CONV_TASK, CONNECTED_TASK, budget_s=1.5)
    assert [outcome.task for outcome in outcomes] == [CONV_TASK, CONNECTED_TASK]
    for outcome in outcomes:
        task = outcome.task
        assert 0 < outcome.time_ms <= outcome.default_time_ms
        assert outcome.evaluations >= 1
        assert task.kernel.rejection(outcome.tile, task.operation, device_context.info) is None
        key = result_key(device_context.info, task.kernel, task.operation, task.workload)
        assert store.best(key, task.kernel) == (outcome.tile, outcome.time_ms)
        found = store.lookup_for(device_context.info)(task.kernel, task.operation, task.workload)
        assert found == (outcome.tile, "tuned")


def test_second_run_goes_on_where_the_first_stopped(device_context: Session, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    run(device_context, store, CONNECTED_TASK, budget_s=0.3)
    key = result_key(device_context.info, CONNECTED, CONNECTED_TASK.operation, CONNECTED_TASK.workload)
    first = set(store.measurements(key, CONNECTED))
    run(device_context, store, CONNECTED_TASK, budget_s=0.3)
    assert set(store.measurements(key, CONNECTED)) > first


def test_interrupt_keeps_what_was_found(device_context: Session, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    calls = []

    def interrupt(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(device_context, store, [CONNECTED_TASK], budget_s=30, progress=interrupt)
    key = result_key(device_context.info, CONNECTED, CONNECTED_TASK.operation, CONNECTED_TASK.workload)
    assert len(store.measurements(key, CONNECTED)) == 3
    assert store.best(key, CONNECTED) is not None


def test_no_budget_still_gives_an_answer(device_context: Session, tmp_path: Path) -> None:
    (outcome,) = run(device_context, Store(tmp_path / "a.sqlite"), CONNECTED_TASK, budget_s=0.0)
    assert outcome.time_ms > 0


def test_equal_problems_are_tuned_once() -> None:
    class Step:
        def __init__(self, task: Task) -> None:
            self.kernel, self.operation, self.workload = task.kernel, task.operation, task.workload

    other = Task(kernel=CONV, operation=CONV_TASK.operation, workload=Workload())
    tasks = unique_tasks([Step(CONV_TASK), Step(CONNECTED_TASK), Step(CONV_TASK), Step(other)])
    assert [(task.kernel.name, task.workload) for task in tasks] == [
        ("conv", CONV_TASK.workload),
        ("connected", Workload()),
        ("conv", Workload()),
    ]

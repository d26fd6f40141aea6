"""Tune a plan's problems on a device within a budget of seconds: search, verify, time, keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clprune.errors import BuildError, ConfigurationRejected, LaunchError
from clprune.kernels.base import Kernel, MatrixKernel, Sample, Workload
from clprune.opencl import Session
from clprune.tuning.measure import bind_case, time_candidates, verify
from clprune.tuning.search import LocalSearch
from clprune.tuning.store import Key, Store, result_key

#: A candidate whose first timed run takes this much longer than the best so far is not run again.
EARLY_STOP = 1.3
REPEATS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One problem to tune: a kernel, its operation with the network's layouts, and what is removed."""

    kernel: Kernel[Any, Any]
    operation: Any
    workload: Workload


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What tuning one problem gave; `rejected` counts candidates by the kind of their failure."""

    task: Task
    tile: Any
    time_ms: float
    default_time_ms: float
    evaluations: int
    rejected: dict[str, int]
    was_known: bool = False


#: Called after every evaluation with (task number, tasks, seconds left, best ms so far or None).
Progress = Callable[[int, int, float, "float | None"], None]


def unique_tasks(steps: Sequence[Any]) -> list[Task]:
    """The different problems among a plan's steps that are worth tuning: those with weights."""
    seen: dict[tuple[str, str, str], Task] = {}
    for step in steps:
        key = (step.kernel.name, step.operation.key, step.workload.key)
        if isinstance(step.kernel, MatrixKernel) and key not in seen:
            seen[key] = Task(kernel=step.kernel, operation=step.operation, workload=step.workload)
    return list(seen.values())


def tune(
    session: Session,
    store: Store,
    tasks: Sequence[Task],
    *,
    budget_s: float,
    seed: int = 0,
    is_forced: bool = False,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Tune each task and keep the winners in `store`.

    Seconds go to tasks in proportion to the square root of their work, so that small layers get their share. What an
    earlier run measured is not measured again unless `is_forced`. KeyboardInterrupt keeps everything found so far.
    """
    weights = [max(task.operation.flops, 1) ** 0.5 for task in tasks]
    end = time.monotonic() + budget_s
    outcomes = []
    for number, task in enumerate(tasks):
        left = end - time.monotonic()
        share = max(0.0, left * weights[number] / sum(weights[number:]))

        def report(best: float | None, number: int = number) -> None:
            if progress is not None:
                progress(number, len(tasks), max(0.0, end - time.monotonic()), best)

        outcomes.append(_tune_task(session, store, task, budget_s=share, seed=seed, is_forced=is_forced, report=report))
    return outcomes


def _tune_task(
    session: Session,
    store: Store,
    task: Task,
    *,
    budget_s: float,
    seed: int,
    is_forced: bool,
    report: Callable[[float | None], None],
) -> Outcome:
    deadline = time.monotonic() + budget_s
    kernel, operation = task.kernel, task.operation
    key = result_key(session.info, kernel, operation, task.workload)
    default = kernel.default_tile(operation, session.info)
    starts = [default, *kernel.cpu_tiles] if session.info.type == "cpu" else [default, *kernel.gpu_tiles]
    search = LocalSearch(
        kernel.candidates(operation, session.info),
        parameters=kernel.parameters,
        starts=starts,
        known={} if is_forced else store.measurements(key, kernel),
        seed=seed,
    )
    sample = kernel.sample(operation, task.workload)
    evaluations, rejected = 0, dict[str, int]()
    try:
        while evaluations == 0 or time.monotonic() < deadline:
            tile = search.ask()
            if tile is None:
                break
            best = search.best
            time_ms, invalidity = _evaluate(session, task, sample, tile, best_ms=best[1] if best else None)
            store.add_measurement(key, tile, time_ms=time_ms, invalidity=invalidity)
            search.tell(tile, time_ms)
            evaluations += 1
            if time_ms is None:
                rejected[invalidity] = rejected.get(invalidity, 0) + 1
            report(search.best[1] if search.best else None)
    finally:
        outcome = _settle(session, store, task, sample, search, key=key, evaluations=evaluations, rejected=rejected)
    return outcome


def _evaluate(
    session: Session, task: Task, sample: Sample, tile: Any, *, best_ms: float | None
) -> tuple[float | None, str]:
    """(best milliseconds, "correct"), or (None, kind of failure)."""
    try:
        case = task.kernel.case(tile, task.operation, sample)
        candidate = bind_case(session, task.kernel, tile, task.operation, case)
        verify(session, candidate)
    except BuildError:
        return None, "build error"
    except LaunchError:
        return None, "launch error"
    except ConfigurationRejected as rejection:
        return None, type(rejection).__name__
    best_s = candidate.bound.timed()
    if best_ms is not None and best_s * 1e3 > EARLY_STOP * best_ms:
        return best_s * 1e3, "correct"
    return min(best_s, *(candidate.bound.timed() for _ in range(REPEATS))) * 1e3, "correct"


def _settle(
    session: Session,
    store: Store,
    task: Task,
    sample: Sample,
    search: LocalSearch,
    *,
    key: Key,
    evaluations: int,
    rejected: dict[str, int],
) -> Outcome:
    """Measure the winner again beside the default, interleaved; the faster of the two is kept."""
    default = task.kernel.default_tile(task.operation, session.info)
    winner = search.best[0] if search.best else default
    tiles = [default] if winner == default else [default, winner]
    candidates = [
        bind_case(session, task.kernel, tile, task.operation, task.kernel.case(tile, task.operation, sample))
        for tile in tiles
    ]
    times_ms = [seconds * 1e3 for seconds in time_candidates(candidates, rounds=REPEATS)]
    fastest = min(range(len(tiles)), key=times_ms.__getitem__)
    store.set_best(key, tiles[fastest], workload=task.workload, time_ms=times_ms[fastest], default_time_ms=times_ms[0])
    return Outcome(
        task=task,
        tile=tiles[fastest],
        time_ms=times_ms[fastest],
        default_time_ms=times_ms[0],
        evaluations=evaluations,
        rejected=rejected,
        was_known=evaluations == 0,
    )

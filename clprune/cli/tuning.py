"""A tuning run as commands show it: which problems there are, what is known of them, progress, and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from clprune.cli.common import stderr_console
from clprune.tuning.effort import DEFAULT_EFFORT, effort_by_name

if TYPE_CHECKING:
    from clprune.algorithms import Algorithms
    from clprune.darknet.network import Network
    from clprune.darknet.values import Weights
    from clprune.device import DeviceInfo
    from clprune.kernels.choice import Offer
    from clprune.opencl import Session
    from clprune.tiles.store import Store
    from clprune.tuning.refinement import Refined


@dataclass(frozen=True, kw_only=True)
class TunedProblem:
    """What is known of one problem after a run; `default_ms` is None where the default tile was never timed.

    `measured_problem`: the key of the smaller problem that all times are of, or empty.
    """

    kernel: str
    problem: str
    workload: str
    tile: dict[str, Any]
    best_ms: float
    default_ms: float | None
    evaluations: int
    rejected: dict[str, int] = field(default_factory=dict)
    measured_problem: str = ""

    @property
    def speed_up(self) -> float | None:
        return self.default_ms / self.best_ms if self.default_ms is not None and self.best_ms > 0 else None


@dataclass(kw_only=True)
class _Watch:
    """Counts evaluations per task, so that an interrupted run can still report."""

    evaluations: dict[int, int] = field(default_factory=dict)

    def count(self, number: int) -> None:
        self.evaluations[number] = self.evaluations.get(number, 0) + 1


def problem_text(key: str) -> str:
    """A problem's key without the batch, which is the same for all, and without a stride or groups of 1."""
    return " ".join(word for word in key.split()[1:] if word not in ("stride1", "groups1"))


def tile_text(tile: dict[str, Any]) -> str:
    """A tile's parameters as `name=value`, those that are 1, 0 or off left out."""
    return " ".join(f"{name}={value}" for name, value in tile.items() if value not in (0, 1))


def list_tasks(
    network: Network,
    device: DeviceInfo,
    forms: dict[int, Any],
    *,
    algorithms: Algorithms | None = None,
    effort: str = DEFAULT_EFFORT,
) -> list[Offer]:
    """The different problems of a network that are worth tuning on `device`, by every algorithm that may be chosen."""
    from clprune.plan.plan import make_plan
    from clprune.tuning.effort import effort_by_name
    from clprune.tuning.tune import offers_to_tune

    plan = make_plan(network, device, forms=forms, algorithms=algorithms)
    return offers_to_tune(plan.steps, likely_only=effort_by_name(effort).likely_only)


def stored_problem(store: Store, device: DeviceInfo, task: Offer, *, evaluations: int) -> TunedProblem | None:
    """What the database holds of a task, or None."""
    from clprune.tiles.records import result_key

    key = result_key(device, task)
    best = store.best(key, task.kernel)
    if best is None:
        return None
    kept = [stored for stored in store.all_best(kernel=key.kernel, device=key.device) if stored.key == key]
    return TunedProblem(
        kernel=task.kernel.name,
        problem=task.operation.key,
        workload=task.workload.key,
        tile=asdict(best[0]),
        best_ms=best[1],
        default_ms=kept[0].default_time_ms if kept else None,
        evaluations=evaluations,
        measured_problem=kept[0].measured_problem if kept else "",
    )


def with_stored_tiles(
    store: Store, device: DeviceInfo, problems: Sequence[TunedProblem], tasks: Sequence[Offer]
) -> list[TunedProblem]:
    """The problems with the tiles and times that the database holds by now."""
    by_key = {(task.kernel.name, task.operation.key, task.workload.key): task for task in tasks}
    renewed = []
    for problem in problems:
        task = by_key[problem.kernel, problem.problem, problem.workload]
        stored = stored_problem(store, device, task, evaluations=problem.evaluations)
        renewed.append(problem if stored is None else replace(stored, rejected=problem.rejected))
    return renewed


def run_tuning(
    session: Session,
    store: Store,
    tasks: Sequence[Offer],
    *,
    effort: str = DEFAULT_EFFORT,
    budget_s: float | None = None,
    seed: int = 0,
    is_forced: bool = False,
) -> tuple[list[TunedProblem], bool]:
    """(what was found, whether Ctrl-C ended it early); progress is shown where stderr is a terminal.

    `budget_s` replaces the effort's own. Raises UsageError for an unknown effort, and what `tune` raises.
    """
    from clprune.tuning.tune import by_layer, tune

    if not tasks:
        return [], False
    tasks = [task for rivals in by_layer(tasks) for task in rivals]
    watch = _Watch()
    level = effort_by_name(effort)
    seconds = level.budget_seconds(len(tasks)) if budget_s is None else budget_s
    try:
        with _progress(tasks, budget_s=seconds, watch=watch) as report:
            outcomes = tune(
                session,
                store,
                tasks,
                budget_s=seconds,
                effort=level,
                seed=seed,
                is_forced=is_forced,
                progress=report,
            )
    except KeyboardInterrupt:
        reached = [
            stored_problem(store, session.info, tasks[number], evaluations=count)
            for number, count in sorted(watch.evaluations.items())
        ]
        return [problem for problem in reached if problem is not None], True
    problems = [
        TunedProblem(
            kernel=outcome.offer.kernel.name,
            problem=outcome.offer.operation.key,
            workload=outcome.offer.workload.key,
            tile=asdict(outcome.tile),
            best_ms=outcome.time_ms,
            default_ms=outcome.default_time_ms,
            evaluations=outcome.evaluations,
            rejected=outcome.rejected,
            measured_problem=outcome.measured_problem,
        )
        for outcome in outcomes
    ]
    return problems, False


def refine_in_network(
    session: Session,
    store: Store,
    network: Network,
    weights: Weights,
    *,
    algorithms: Algorithms | None = None,
    effort: str = DEFAULT_EFFORT,
) -> list[Refined]:
    """Measure the winners of tuning and their closest rivals in the network, and keep the fastest."""
    from clprune.plan.forms import weights_forms
    from clprune.plan.plan import make_plan
    from clprune.tiles.lookup import Lookup
    from clprune.tuning.refinement import refine

    level, lookup = effort_by_name(effort), Lookup(store, session.info)
    plan = make_plan(
        network,
        session.info,
        forms=weights_forms(network, weights),
        lookup=lookup,
        times=lookup.time_ms,
        algorithms=algorithms,
    )
    return refine(session, store, plan, weights, rounds=level.rounds, most=level.contenders)


@contextmanager
def _progress(tasks: Sequence[Offer], *, budget_s: float, watch: _Watch) -> Iterator[Any]:
    """A function to call after every evaluation, which shows where the search is and how much time is left."""
    columns = (
        TextColumn("{task.fields[where]}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[left]:.0f} s left"),
        TextColumn("{task.fields[best]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=stderr_console(), disable=not sys.stderr.isatty(), transient=True) as bar:
        shown = bar.add_task("", total=budget_s, where=f"1/{len(tasks)}", left=budget_s, best="")

        def report(number: int, count: int, left_s: float, best_ms: float | None) -> None:
            watch.count(number)
            best = "" if best_ms is None else f"{best_ms:.4g} ms for {problem_text(tasks[number].operation.key)}"
            bar.update(shown, completed=budget_s - left_s, where=f"{number + 1}/{count}", left=left_s, best=best)

        yield report

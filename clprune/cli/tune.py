"""`clprune tune`: find the fastest tile of every layer problem on a device, and keep it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn

from clprune.cli.common import (
    STATUS_INTERRUPTED,
    device_option,
    json_option,
    print_json,
    print_table,
    stderr_console,
    stdout_console,
)
from clprune.cli.model import (
    batch_option,
    default_weights,
    device_facts,
    load_weights,
    model_argument,
    seed_option,
    weights_argument,
)

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.device import DeviceInfo
    from clprune.opencl import Session
    from clprune.tuning.store import Store
    from clprune.tuning.tune import Task

TABLE_WIDTH = 120
"""Columns below which a table would fold its cells: each problem then has lines of its own."""


@dataclass(frozen=True, kw_only=True)
class TunedProblem:
    """What is known of one problem after a run; `default_ms` is None where the default tile was never timed."""

    kernel: str
    problem: str
    workload: str
    tile: dict[str, Any]
    best_ms: float
    default_ms: float | None
    evaluations: int
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def speed_up(self) -> float | None:
        return self.default_ms / self.best_ms if self.default_ms is not None and self.best_ms > 0 else None


@dataclass(kw_only=True)
class _Watch:
    """Counts evaluations per task, so that an interrupted run can still report."""

    evaluations: dict[int, int] = field(default_factory=dict)

    def count(self, number: int) -> None:
        self.evaluations[number] = self.evaluations.get(number, 0) + 1


@click.command("tune")
@model_argument
@weights_argument
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="Seconds to spend, shared among the problems.",
)
@click.option("--force", is_flag=True, help="Measure again what earlier runs have measured.")
@click.option("--missing", is_flag=True, help="Leave out problems that have a tuned tile.")
@seed_option
@batch_option
@device_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    weights: str | None,
    budget: float,
    force: bool,
    missing: bool,
    seed: int,
    batch: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Tune MODEL.cfg for a device: time tiles, each checked against float64 first, and keep the fastest.

    How much each layer has lost to pruning is read from WEIGHTS (the file of the same stem where there is one), else
    from the cfg's prune keys. Earlier measurements are used and the search goes on from them. Ctrl-C keeps what was
    found.
    """
    from clprune.darknet.network import load_network
    from clprune.opencl import open_device
    from clprune.tuning.store import open_store

    network = load_network(model, batch=batch)
    workloads = model_workloads(network, weights)
    store = open_store()
    with open_device(device) as session:
        tasks = list_tasks(network, session.info, workloads)
        if missing:
            tasks = [task for task in tasks if stored_problem(store, session.info, task, evaluations=0) is None]
        problems, is_interrupted = _run(
            session, store, tasks, budget_s=budget, seed=seed, is_forced=force, is_quiet=not sys.stderr.isatty()
        )
        facts = device_facts(session.info)
    if as_json:
        result = {"model": model, "batch": batch, **facts, "interrupted": is_interrupted}
        print_json(result | {"problems": [asdict(problem) | {"speed_up": problem.speed_up} for problem in problems]})
    else:
        place = str(store.path or "memory, which ends now")
        _print_summary(problems, count=len(tasks), device=facts["device"], place=place)
    if is_interrupted:
        click.echo("clprune: interrupted; what was found is kept, and the same command goes on from there", err=True)
        ctx.exit(STATUS_INTERRUPTED)


def model_workloads(network: Network, weights: str | None) -> dict[int, Any]:
    """What was removed from each layer: by the weights where there are any, else by the cfg."""
    from clprune.runner.workload import cfg_workloads, weights_workloads

    if weights is None and not default_weights(network.path).exists():
        return cfg_workloads(network)
    return weights_workloads(network, load_weights(network, weights))


def list_tasks(network: Network, device: DeviceInfo, workloads: dict[int, Any]) -> list[Task]:
    """The different problems of a network that are worth tuning on `device`."""
    from clprune.runner.plan import make_plan
    from clprune.tuning.tune import unique_tasks

    return unique_tasks(make_plan(network, device, workloads=workloads).steps)


def stored_problem(store: Store, device: DeviceInfo, task: Task, *, evaluations: int) -> TunedProblem | None:
    """What the database holds of a task, or None."""
    from clprune.tuning.store import result_key

    key = result_key(device, task.kernel, task.operation, task.workload)
    best = store.best(key, task.kernel)
    if best is None:
        return None
    default = task.kernel.default_tile(task.operation, device)
    return TunedProblem(
        kernel=task.kernel.name,
        problem=task.operation.key,
        workload=task.workload.key,
        tile=asdict(best[0]),
        best_ms=best[1],
        default_ms=store.measurements(key, task.kernel).get(default),
        evaluations=evaluations,
    )


def _run(
    session: Session,
    store: Store,
    tasks: Sequence[Task],
    *,
    budget_s: float,
    seed: int,
    is_forced: bool,
    is_quiet: bool,
) -> tuple[list[TunedProblem], bool]:
    """(what was found, whether Ctrl-C ended it early)."""
    from clprune.tuning.tune import tune

    watch = _Watch()
    try:
        with _progress(tasks, budget_s=budget_s, watch=watch, is_quiet=is_quiet) as report:
            outcomes = tune(session, store, tasks, budget_s=budget_s, seed=seed, is_forced=is_forced, progress=report)
    except KeyboardInterrupt:
        reached = [
            stored_problem(store, session.info, tasks[number], evaluations=count)
            for number, count in sorted(watch.evaluations.items())
        ]
        return [problem for problem in reached if problem is not None], True
    problems = [
        TunedProblem(
            kernel=outcome.task.kernel.name,
            problem=outcome.task.operation.key,
            workload=outcome.task.workload.key,
            tile=asdict(outcome.tile),
            best_ms=outcome.time_ms,
            default_ms=outcome.default_time_ms,
            evaluations=outcome.evaluations,
            rejected=outcome.rejected,
        )
        for outcome in outcomes
    ]
    return problems, False


@contextmanager
def _progress(tasks: Sequence[Task], *, budget_s: float, watch: _Watch, is_quiet: bool) -> Iterator[Any]:
    """A function to call after every evaluation, which shows where the search is and how much time is left."""
    columns = (
        TextColumn("{task.fields[where]}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[left]:.0f} s left"),
        TextColumn("{task.fields[best]}"),
    )
    with Progress(*columns, console=stderr_console(), disable=is_quiet, transient=True) as bar:
        shown = bar.add_task("", total=budget_s, where=f"1/{len(tasks)}", left=budget_s, best="")

        def report(number: int, count: int, left_s: float, best_ms: float | None) -> None:
            watch.count(number)
            best = "" if best_ms is None else f"{tasks[number].operation.key}: {best_ms:.4g} ms"
            bar.update(shown, completed=budget_s - left_s, where=f"{number + 1}/{count}", left=left_s, best=best)

        yield report


def _print_summary(problems: Sequence[TunedProblem], *, count: int, device: str, place: str) -> None:
    console = stdout_console()
    if console.width >= TABLE_WIDTH:
        _print_as_table(problems)
    else:
        for problem in problems:
            console.print(f"{problem.kernel} {problem_text(problem.problem)}, {problem.workload}")
            default, speed_up = _default_texts(problem)
            console.print(
                f"  {problem.best_ms:.4f} ms, default {default} ms, {speed_up}, {problem.evaluations} tried",
            )
            console.print(Padding(tile_text(problem.tile), (0, 0, 0, 2)))
    if count:
        console.print(f"{len(problems)} of {count} problems tuned on {device}, kept in {place}", soft_wrap=True)
    else:
        console.print(f"nothing to tune: every problem has a tuned tile on {device} in {place}", soft_wrap=True)


def _print_as_table(problems: Sequence[TunedProblem]) -> None:
    if not problems:
        return
    rows = [
        (
            problem.kernel,
            problem_text(problem.problem),
            problem.workload,
            f"{problem.best_ms:.4f}",
            *_default_texts(problem),
            problem.evaluations,
            tile_text(problem.tile),
        )
        for problem in problems
    ]
    print_table(["kernel", "problem", "weights", "ms", "default ms", "speed-up", "tried", "tile"], rows)


def _default_texts(problem: TunedProblem) -> tuple[str, str]:
    """Milliseconds of the default tile, and how much faster the tuned one is."""
    default = "-" if problem.default_ms is None else f"{problem.default_ms:.4f}"
    return default, "-" if problem.speed_up is None else f"{problem.speed_up:.2f}x"


def problem_text(key: str) -> str:
    """A problem's key without the batch, which is the same for all, and without a stride or groups of 1."""
    return " ".join(word for word in key.split()[1:] if word not in ("stride1", "groups1"))


def tile_text(tile: dict[str, Any]) -> str:
    """A tile's parameters as `name=value`, those that are 1, 0 or off left out."""
    return " ".join(f"{name}={value}" for name, value in tile.items() if value not in (0, 1))

"""`clprune tune`: find the fastest tiles for a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.shared.bulk import cluster_options, take_cluster
from clprune.cli.shared.errors import STATUS_INTERRUPTED
from clprune.cli.shared.model import batch_option, model_argument, seed_option, weights_argument
from clprune.cli.shared.numbers import FiniteRange
from clprune.cli.shared.options import algorithm_options, device_option, json_option, take_algorithms
from clprune.cli.shared.progress import show_progress
from clprune.cli.shared.text import print_json, print_table, stdout_console, tile_text
from clprune.errors import UsageError
from clprune.files import check_writable
from clprune.geometry import problem_text
from clprune.tuning.effort import DEFAULT_EFFORT, EFFORTS

if TYPE_CHECKING:
    from clprune.workflow.offline import OfflineResult
    from clprune.workflow.tune import TunedProblem, TuneResult

#: Columns below which a table would fold its cells: each problem then has lines of its own.
TABLE_WIDTH = 120
#: Where tiles are kept without a database.
IN_MEMORY = "memory, which ends now"


@click.command("tune")
@model_argument
@weights_argument
@click.option(
    "--effort",
    type=click.Choice([effort.name for effort in EFFORTS]),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="; ".join(f"{effort.name}: {effort.problem_seconds:g} s a problem at most" for effort in EFFORTS) + ".",
)
@click.option(
    "--budget",
    "budget_s",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds to spend, shared among the problems, in place of the effort's own.",
)
@click.option("--force", is_flag=True, help="Measure again what earlier runs have measured.")
@click.option("--missing", is_flag=True, help="Leave out problems that have a tuned tile.")
@click.option("--no-keep", is_flag=True, help="Keep nothing, as where the tuning database cannot be written.")
@click.option(
    "--offline",
    metavar="ARCHITECTURE",
    help="Predict starting points for a GPU that is not here, such as sm_90 or gfx90a; needs clang, for NVIDIA ptxas.",
)
@cluster_options
@click.option(
    "--out", metavar="FILE.json", help="With workers: write all outcomes of these problems as T4 JSON, .gz compressed."
)
@algorithm_options
@seed_option
@batch_option
@device_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, model: str, offline: str | None, out: str | None, as_json: bool, **options: Any
) -> None:
    """Tune MODEL.cfg for a device: time tiles, each checked against float64 first, and keep the fastest.

    How much each layer has lost to pruning is read from WEIGHTS (the file of the same stem where there is one), else
    from the cfg's prune keys. Earlier measurements are used and the search goes on from them; it ends before its time
    when it expects nothing more. Candidates run in processes of their own: a driver's crash costs one of them. Ctrl-C
    keeps what was found. At last the winners and their closest rivals run in the network itself, in turns. With
    --scheduler, every kind of device that workers have is tuned, and equal devices share the work.
    """
    from clprune.container.load import default_weights
    from clprune.workflow.offline import tune_offline
    from clprune.workflow.tune import tune

    cluster, device = take_cluster(options), options.pop("device")
    options |= {"algorithms": take_algorithms(options), "kept": not options.pop("no_keep")}
    if out is not None:
        if cluster is None:
            raise click.UsageError("--out without --workers or --scheduler: `clprune db export` writes what was found")
        check_writable(Path(out), sources=(model, options["weights"] or default_weights(model)))
    if offline is not None:
        if device is not None or cluster is not None:
            raise UsageError("--offline predicts for a GPU that is not here: leave out --device and workers")
        chosen = {name: options[name] for name in ("weights", "dialect", "batch", "kept")}
        with show_progress() as progress:
            predicted = tune_offline(model, architecture=offline, progress=progress, **chosen)
        print_json(predicted.to_dict()) if as_json else _print_predicted(predicted)
        return
    results: Sequence[TuneResult]
    with show_progress() as progress:
        if cluster is None:
            results = [tune(model, device=device, progress=progress, **options)]
        else:
            from clprune import distributed

            with cluster.client(device) as client:
                chosen = {"device": cluster.worker_device(device), "out": out, "progress": progress}
                results = distributed.tune(client, model, **chosen, **options)
    if as_json:
        found = [result.to_dict() for result in results]
        print_json(found[0] if cluster is None else {"devices": found})
    else:
        for result in results:
            _print_summary(result)
    if any(result.interrupted for result in results):
        click.echo("clprune: interrupted; what was found is kept, and the same command goes on from there", err=True)
        ctx.exit(STATUS_INTERRUPTED)


def _print_summary(result: TuneResult) -> None:
    from rich.padding import Padding

    console = stdout_console()
    if console.width >= TABLE_WIDTH:
        _print_as_table(result.problems)
    else:
        for problem in result.problems:
            console.print(f"{problem.kernel} {problem_text(problem.problem)}, {problem.workload}")
            default, speed_up = _default_texts(problem)
            console.print(f"  {problem.best_ms:.4f} ms, default {default} ms, {speed_up}, {problem.evaluations} tried")
            console.print(Padding(tile_text(problem.tile), (0, 0, 0, 2)))
    for problem in result.problems:
        if problem.measured_problem:
            measured = problem_text(problem.measured_problem)
            console.print(f"{problem_text(problem.problem)} was tuned and timed on {measured}", soft_wrap=True)
    for item in result.refined:
        times = f"{item.after_ms:.4f} ms in place of {item.before_ms:.4f}"
        console.print(f"layer {item.layer}: {item.label} in the network, {times}")
    device, place = result.device.name, result.database or IN_MEMORY
    if result.count:
        counts = f"{len(result.problems)} of {result.count} problems"
        console.print(f"{counts} tuned on {device}, kept in {place}", soft_wrap=True)
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


def _print_predicted(result: OfflineResult) -> None:
    rows = [
        (
            point.key.kernel,
            problem_text(point.key.problem),
            point.key.workload,
            f"{point.best.estimate.time_ms:.4f}",
            "-" if point.default is None else f"{point.default.estimate.time_ms:.4f}",
            point.best.estimate.bound,
            f"{point.best.estimate.occupancy.share:.0%}",
            tile_text(asdict(point.best.tile)),
        )
        for point in result.points
    ]
    if rows:
        columns = ["kernel", "problem", "weights", "estimated ms", "default ms", "bound by", "occupancy", "tile"]
        print_table(columns, rows)
    stdout_console().print(
        f"{len(result.points)} starting points for {result.architecture.name} (estimated for "
        f"{result.architecture.card}, not measured), kept in {result.database or IN_MEMORY}",
        soft_wrap=True,
    )

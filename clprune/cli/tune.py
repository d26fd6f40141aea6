"""`clprune tune`: find the fastest tile of every layer problem on a device, and keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.padding import Padding

from clprune.cli.common import (
    STATUS_INTERRUPTED,
    device_option,
    json_option,
    print_json,
    print_table,
    stdout_console,
)
from clprune.cli.model import (
    algorithm_options,
    batch_option,
    device_facts,
    load_weights,
    model_argument,
    seed_option,
    take_algorithms,
    weights_argument,
)
from clprune.cli.offline import tune_offline
from clprune.cli.tuning import (
    TunedProblem,
    list_tasks,
    problem_text,
    refine_in_network,
    run_tuning,
    stored_problem,
    tile_text,
    with_stored_tiles,
)
from clprune.errors import UsageError
from clprune.tuning.effort import DEFAULT_EFFORT, EFFORTS

if TYPE_CHECKING:
    from clprune.darknet.network import Network
    from clprune.darknet.values import Weights
    from clprune.tuning.refinement import Refined

#: Columns below which a table would fold its cells: each problem then has lines of its own.
TABLE_WIDTH = 120


@click.command("tune", short_help="Find the fastest tiles for a device.")
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
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Seconds to spend, shared among the problems, in place of the effort's own.",
)
@click.option("--force", is_flag=True, help="Measure again what earlier runs have measured.")
@click.option("--missing", is_flag=True, help="Leave out problems that have a tuned tile.")
@click.option(
    "--offline",
    metavar="ARCHITECTURE",
    help="Predict starting points for a GPU that is not here, such as sm_90 or gfx90a; needs clang, for NVIDIA ptxas.",
)
@algorithm_options
@seed_option
@batch_option
@device_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    weights: str | None,
    effort: str,
    budget: float | None,
    force: bool,
    missing: bool,
    offline: str | None,
    seed: int,
    batch: int,
    device: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune MODEL.cfg for a device: time tiles, each checked against float64 first, and keep the fastest.

    How much each layer has lost to pruning is read from WEIGHTS (the file of the same stem where there is one), else
    from the cfg's prune keys. Earlier measurements are used and the search goes on from them; it ends before its time
    when it expects nothing more. Candidates run in processes of their own: a driver's crash costs one of them. Ctrl-C
    keeps what was found. At last the winners and their closest rivals run in the network itself, in turns.
    """
    from clprune.darknet.network import load_network
    from clprune.opencl import open_device
    from clprune.tiles.store import open_store

    algorithms = take_algorithms(options)
    network = load_network(model, batch=batch)
    forms, values = model_forms(network, weights)
    if offline is not None:
        if device is not None:
            raise UsageError("--offline predicts for a GPU that is not here: leave out --device")
        tune_offline(network, forms, architecture_name=offline, as_json=as_json)
        return
    store = ctx.with_resource(open_store())
    with open_device(device) as session:
        tasks = list_tasks(network, session.info, forms, algorithms=algorithms, effort=effort)
        if missing:
            tasks = [task for task in tasks if stored_problem(store, session.info, task, evaluations=0) is None]
        problems, is_interrupted = run_tuning(
            session, store, tasks, effort=effort, budget_s=budget, seed=seed, is_forced=force
        )
        refined: list[Refined] = []
        if values is not None and problems and not is_interrupted:
            try:
                refined = refine_in_network(session, store, network, values, algorithms=algorithms, effort=effort)
            except KeyboardInterrupt:
                is_interrupted = True
            problems = with_stored_tiles(store, session.info, problems, tasks)
        facts = device_facts(session.info)
    if as_json:
        result = {"model": model, "batch": batch, **facts, "interrupted": is_interrupted}
        result["refined"] = [asdict(item) for item in refined]
        print_json(result | {"problems": [asdict(problem) | {"speed_up": problem.speed_up} for problem in problems]})
    else:
        place = str(store.path or "memory, which ends now")
        _print_summary(problems, refined, count=len(tasks), device=facts["device"], place=place)
    if is_interrupted:
        click.echo("clprune: interrupted; what was found is kept, and the same command goes on from there", err=True)
        ctx.exit(STATUS_INTERRUPTED)


def model_forms(network: Network, weights: str | None) -> tuple[dict[int, Any], Weights | None]:
    """What was removed from each layer, and weights to run with: those that there are, or else random ones of a network
    whose cfg prunes nothing.
    """
    from clprune.container.load import default_weights
    from clprune.darknet.random_weights import random_weights
    from clprune.plan.forms import cfg_forms, weights_forms

    if weights is not None or default_weights(network.path).exists():
        values = load_weights(network, weights)
        return weights_forms(network, values), values
    forms = cfg_forms(network)
    is_dense = all(form.workload.is_dense for form in forms.values())
    return forms, random_weights(network, seed=0) if is_dense else None


def _print_summary(
    problems: Sequence[TunedProblem], refined: Sequence[Refined], *, count: int, device: str, place: str
) -> None:
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
    for problem in problems:
        if problem.measured_problem:
            measured = problem_text(problem.measured_problem)
            console.print(f"{problem_text(problem.problem)} was tuned and timed on {measured}", soft_wrap=True)
    for item in refined:
        times = f"{item.after_ms:.4f} ms in place of {item.before_ms:.4f}"
        console.print(f"layer {item.layer}: {item.label} in the network, {times}")
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

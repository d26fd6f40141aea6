"""`clprune tune --offline`: starting points for a GPU that is not there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clprune.cli.common import print_json, print_table, progress_bar, stdout_console
from clprune.cli.tuning import problem_text, tile_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clprune.architecture import Architecture
    from clprune.darknet.network import Network
    from clprune.offline.start import StartingPoint


def tune_offline(network: Network, forms: dict[int, Any], *, architecture_name: str, as_json: bool) -> None:
    """Predict a tile for every problem of `network` on an architecture, keep them, and print them.

    Raises UsageError for an unknown architecture, MissingDependencyError naming the compilers to install.
    """
    from clprune.offline.architectures import architecture_by_name, imaginary_device
    from clprune.offline.compilers import find_toolchain
    from clprune.offline.ranking import Compiler
    from clprune.offline.start import keep, starting_points
    from clprune.plan.plan import make_plan
    from clprune.tiles.store import open_store

    architecture = architecture_by_name(architecture_name)
    toolchain = find_toolchain()
    toolchain.require(architecture)
    plan = make_plan(network, imaginary_device(architecture), forms=forms)
    store = click.get_current_context().with_resource(open_store())
    with progress_bar() as bar:
        shown = bar.add_task("compiling", total=None)

        def report(number: int, count: int, problem: str) -> None:
            bar.update(shown, completed=number, total=count, description=problem_text(problem))

        offers = (step.choice.offer for step in plan.steps)
        points = starting_points(Compiler(toolchain, architecture), offers, progress=report)
    keep(store, architecture, points)
    place = str(store.path) if store.path else None
    if as_json:
        print_json(_as_json(architecture, points, network=network, place=place))
    else:
        _print(architecture, points, place=place)


def _as_json(
    architecture: Architecture, points: Sequence[StartingPoint], *, network: Network, place: str | None
) -> dict[str, Any]:
    return {
        "model": str(network.path),
        "batch": network.batch,
        "offline": architecture.name,
        "card": architecture.card,
        "database": place,
        "problems": [
            {
                "kernel": point.key.kernel,
                "problem": point.key.problem,
                "workload": point.key.workload,
                "tile": asdict(point.best.tile),
                "estimated_ms": point.best.estimate.time_ms,
                "estimated_default_ms": point.default.estimate.time_ms if point.default else None,
                "bound": point.best.estimate.bound,
                "occupancy": point.best.estimate.occupancy.share,
                "registers": point.best.report.registers if point.best.report else None,
            }
            for point in points
        ],
    }


def _print(architecture: Architecture, points: Sequence[StartingPoint], *, place: str | None) -> None:
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
        for point in points
    ]
    if rows:
        columns = ["kernel", "problem", "weights", "estimated ms", "default ms", "bound by", "occupancy", "tile"]
        print_table(columns, rows)
    console = stdout_console()
    console.print(
        f"{len(points)} starting points for {architecture.name} (estimated for {architecture.card}, not measured), "
        f"kept in {place or 'memory, which ends now'}",
        soft_wrap=True,
    )

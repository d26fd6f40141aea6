"""How near VGG16's layers come to this device's limits; writes docs/results/convolutions.md and .json.

    python -m tools.bench.convolutions [--device D] [--tune SECONDS] [--rounds N]

Of all convolutions together: operations that remain after pruning, over their time, over the fp32 peak. Of the
connected layers: bytes of their packed weights, over their time, over the read bandwidth. Both limits are measured in
turns with the layers. And device memory over what a run cannot do without.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from clprune.algorithms import Algorithms
from clprune.darknet.network import Network, load_network
from clprune.opencl import Session, open_device
from clprune.runner import Runner
from clprune.tiles.store import open_store
from clprune.turns import Series
from tools import RESULTS
from tools.bench.figures import FIGURE_COLUMNS, Figure, time_ratio
from tools.bench.layers import (
    LAYER_COLUMNS,
    LimitSeries,
    ModelTimes,
    TimedModel,
    layer_rows,
    model_to_dict,
    remaining_shares,
    share_of_bandwidth,
    share_of_peak,
    time_layers,
)
from tools.bench.machine import circumstances
from tools.bench.models import find_cfg, load_or_make_weights
from tools.bench.options import preparation_options, take_preparation
from tools.bench.prepare import Preparation
from tools.bench.report import Section, machine_text, markdown_table, write_section
from tools.bench.units import Variant, fastest_cuts, prune_in_cuts, tune_missing, variant_tasks
from tools.terminal import device_option, print_table, run_command, say

OUT = RESULTS / "convolutions.json"

HEADING = """
# How near the kernels come to the device's limits

Written by `tools/bench/convolutions.py`. Shares count the work that remains after pruning: operations of all
convolutions over their time and the measured fp32 peak; bytes of the connected layers' packed weights over their time
and the measured read bandwidth. The limits were measured in turns with the layers. Memory is packed weights and all
activations on the device, over packed weights and the two largest neighbouring activations.
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A variant and its goals in percent: `peak` of the convolutions, `bandwidth` of the connected layers."""

    variant: Variant
    peak: float | None = None
    bandwidth: float | None = None


DIRECT, WINOGRAD = "25 % and 10 % kept", "25 % kept in the Winograd domain"
CASES = (
    Case(variant=Variant(name="dense"), peak=92, bandwidth=80),
    Case(variant=Variant(name=DIRECT, sparsity=0.75, fc_sparsity=0.9), peak=86, bandwidth=80),
    Case(variant=Variant(name="12.5 % and 10 % kept", sparsity=0.875, fc_sparsity=0.9), peak=75),
    Case(variant=Variant(name="dense, float16 storage", connected_storage="float16"), bandwidth=80),
    Case(
        variant=Variant(name=f"{DIRECT}, float16 storage", sparsity=0.75, fc_sparsity=0.9, connected_storage="float16"),
        bandwidth=80,
    ),
    Case(variant=Variant(name=WINOGRAD, sparsity=0.75, fc_sparsity=0.9, algorithms=("winograd",))),
)
MEMORY_GOAL = 1.1
WINOGRAD_GOAL = 0.6


@click.command()
@click.option("--model", default="vgg16", show_default=True)
@device_option
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True)
@preparation_options
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="JSON file to write.")
@click.option("--show-layers", is_flag=True, help="Also a table of the layers.")
def bench_convolutions(
    model: str, device: str | None, rounds: int, out: Path, show_layers: bool, **options: Any
) -> None:
    """Measure the shares of the limits and compare them with the goals."""
    preparation = take_preparation(options)
    network = load_network(find_cfg(model))
    with open_device(device) as session:
        limits, models = measure(session, network, preparation, rounds=rounds)
        info = session.info
    figures = goal_figures(limits, models)
    section = {
        **circumstances(["clprune", "numpy", "pyopencl"]),
        "device": f"{info.name}, {info.platform_name}, driver {info.driver_version}",
        "rounds": rounds,
        "seed": preparation.seed,
        "limits": asdict(limits),
        "models": [model_to_dict(times) for times in models],
        "tables": {times.name: layer_rows(times, limits) for times in models},
        "figures": [figure.to_dict() for figure in figures],
        "figures_table": [figure.row() for figure in figures],
    }
    title = f"{network.path.stem}, batch 1, {info.platform_name}"
    show(title, section, show_layers=show_layers)
    write_section(out, title, section, heading=HEADING, render=render_section)


def measure(
    session: Session, network: Network, preparation: Preparation, *, rounds: int
) -> tuple[LimitSeries, list[ModelTimes]]:
    """Tune what is missing, make a runner for each case and time their layers."""
    dense, _ = load_or_make_weights(network, seed=preparation.seed)
    variants, unit_rows = [case.variant for case in CASES], preparation.unit_rows
    tasks = variant_tasks(network, session.info, variants, unit_rows)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store())
        tune_missing(session, store, tasks, preparation.tuning, say=say)
        models = []
        for variant in variants:
            cuts = fastest_cuts(network, session.info, store, variant, unit_rows=unit_rows)
            pruned, weights = prune_in_cuts(network, dense, variant, cuts)
            runner = Runner(
                pruned,
                weights,
                session=session,
                connected_storage=variant.connected_storage,
                algorithms=Algorithms(names=variant.algorithms),
            )
            stack.enter_context(runner)
            shares = remaining_shares(pruned, weights)
            models.append(TimedModel(name=variant.name, runner=runner, remaining_shares=shares))
        say("timing")
        return time_layers(session, models, rounds=rounds)


def goal_figures(limits: LimitSeries, models: list[ModelTimes]) -> list[Figure]:
    """Shares of the peak, shares of the bandwidth, memory."""
    goals = {case.variant.name: case for case in CASES}
    convolutions, connected, memory = [], [], []
    for times in models:
        case = goals[times.name]
        if case.variant.connected_storage == "float32" and case.variant.algorithms == ("direct",):
            layers = times.of_kind(is_convolution=True)
            convolutions.append(share_of_peak(f"convolutions, {times.name}", layers, limits, goal=case.peak))
        layers = times.of_kind(is_convolution=False)
        if layers and case.bandwidth is not None:
            connected.append(share_of_bandwidth(f"connected, {times.name}", layers, limits, goal=case.bandwidth))
        memory.append(Figure(name=f"memory, {times.name}", best=times.memory_ratio, goal=MEMORY_GOAL))
    return [*convolutions, winograd_figure(models), *connected, *memory]


def winograd_figure(models: list[ModelTimes]) -> Figure:
    """Convolutions but the first: pruned in the Winograd domain over pruned spatially and computed directly."""
    of_name = {times.name: times.of_kind(is_convolution=True)[1:] for times in models}
    winograd, direct = (
        Series(samples_ms=tuple(sum(one) for one in zip(*(layer.series.samples_ms for layer in layers), strict=True)))
        for layers in (of_name[WINOGRAD], of_name[DIRECT])
    )
    return time_ratio(
        "convolutions but the first, 25 % kept, Winograd / direct", winograd, [direct], goal=WINOGRAD_GOAL
    )


def render_section(section: Section) -> str:
    """A section as Markdown."""
    limits = section["limits"]
    parts = [
        f"{machine_text(section)} OpenCL device: {section['device']}. {section['rounds']} rounds; best peak "
        f"{max(limits['peak_gflops']):.0f} GFLOP/s, best bandwidth {max(limits['bandwidth_gbytes_per_s']):.1f} GB/s. "
        f"Random weights, seed {section['seed']}.",
        markdown_table(FIGURE_COLUMNS, section["figures_table"]),
    ]
    for name, rows in section["tables"].items():
        parts += [f"### {name}", markdown_table(LAYER_COLUMNS, rows)]
    return "\n\n".join(parts)


def show(title: str, section: Section, *, show_layers: bool) -> None:
    """The tables on stdout."""
    if show_layers:
        for name, rows in section["tables"].items():
            print_table(LAYER_COLUMNS, rows, title=name)
            click.echo()
    print_table(FIGURE_COLUMNS, section["figures_table"], title=title)


if __name__ == "__main__":
    run_command(bench_convolutions)

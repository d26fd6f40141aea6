"""How near VGG16's layers come to this device's limits; writes docs/results/convolutions.md and .json.

    python -m tools.bench.convolutions [--device D] [--tune SECONDS] [--rounds N]

Of all convolutions together: operations that remain after pruning, over their time, over the fp32 peak. Of the
connected layers: bytes of their packed weights, over their time, over the read bandwidth. Both limits are measured in
turns with the layers. And device memory over what a run cannot do without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from clprune.darknet.network import Network, load_network
from clprune.opencl import Session, open_device
from clprune.tiles.store import open_store
from clprune.turns import Series
from tools import RESULTS
from tools.bench.figures import Figure, time_ratio
from tools.bench.layers import (
    LimitSeries,
    ModelTimes,
    TimedModel,
    layer_table,
    model_to_dict,
    share_of_bandwidth,
    share_of_peak,
    time_layers,
)
from tools.bench.machine import cpu_class, device_text, this_machine
from tools.bench.models import find_cfg, load_or_make_weights
from tools.bench.prepare import PREPARATION, Preparation
from tools.bench.report import figure_table, make_section, show, write_section
from tools.bench.units import UnitRows, Variant, fastest_cuts, prune_in_cuts, tune_missing, variant_tasks
from tools.terminal import options, run_command, say

HEADING = """
# How near the kernels come to the device's limits

Written by `tools/bench/convolutions.py`. Shares count the work that remains after pruning: operations of all
convolutions over their time and the measured fp32 peak; bytes of the connected layers' packed weights over their time
and the measured read bandwidth. The limits were measured in turns with the layers. Memory is packed weights and all
activations on the device, over packed weights and the two largest neighbouring activations.
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A variant and its goals in percent: `peak` of the convolutions by class of processor, `bandwidth` of the
    connected layers.
    """

    variant: Variant
    peak: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None


DIRECT, WINOGRAD = "25 % and 10 % kept", "25 % kept in the Winograd domain"
CASES = (
    Case(variant=Variant(name="dense"), peak={"AVX2": 88, "AVX-512": 93}, bandwidth=80),
    Case(variant=Variant(name=DIRECT, sparsity=0.75, fc_sparsity=0.9), peak={"AVX2": 82, "AVX-512": 88}, bandwidth=80),
    Case(
        variant=Variant(name="12.5 % and 10 % kept", sparsity=0.875, fc_sparsity=0.9),
        peak={"AVX2": 75, "AVX-512": 82},
    ),
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
@options(
    model="vgg16",
    device=None,
    rounds=20,
    **PREPARATION,
    out=RESULTS / "convolutions.json",
    show_layers={"default": False, "help": "Also a table of the layers."},
)
def bench_convolutions(device: str | None, rounds: int, out: Path, show_layers: bool, **options: Any) -> None:
    """Measure the shares of the limits and compare them with the goals."""
    preparation = Preparation.take(options)
    network = load_network(find_cfg(options["model"]))
    with open_device(device) as session:
        limits, models = measure(session, network, preparation, rounds=rounds)
        info = session.info
    figures = goal_figures(limits, models)
    layers = [part for times in models for part in (f"### {times.name}", layer_table(times, limits))]
    section = make_section(
        ["clprune", "numpy", "pyopencl"],
        text=f"OpenCL device: {device_text(info)}. {rounds} rounds; best peak {max(limits.peak_gflops):.0f} GFLOP/s, "
        f"best bandwidth {max(limits.bandwidth_gbytes_per_s):.1f} GB/s. Random weights, seed {preparation.seed}.",
        parts=[figure_table(figures), *layers],
        figures=figures,
        device=device_text(info),
        rounds=rounds,
        seed=preparation.seed,
        limits=vars(limits),
        models=[model_to_dict(times) for times in models],
    )
    title = f"{network.path.stem}, batch 1, {info.platform_name}"
    show(title, section["parts"] if show_layers else section["parts"][:1])
    write_section(out, title, section, heading=HEADING)


def measure(
    session: Session, network: Network, preparation: Preparation, *, rounds: int
) -> tuple[LimitSeries, list[ModelTimes]]:
    """Tune what is missing, make a runner for each case and time their layers."""
    dense, _ = load_or_make_weights(network, seed=preparation.seed)
    variants, unit_rows = [case.variant for case in CASES], UnitRows.on(session.info, **preparation.rows)
    tasks = variant_tasks(network, session.info, variants, unit_rows)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store(to_write=True))
        tune_missing(session, store, tasks, preparation.tuning, say=say)
        models = []
        for variant in variants:
            cuts = fastest_cuts(network, session.info, store, variant, unit_rows=unit_rows)
            timed = TimedModel.of(
                variant.name,
                prune_in_cuts(network, dense, variant, cuts),
                session=session,
                connected_storage=variant.connected_storage,
                algorithms=variant.choice,
            )
            models.append(stack.enter_context(timed))
        say("timing")
        return time_layers(session, models, rounds=rounds)


def goal_figures(limits: LimitSeries, models: list[ModelTimes]) -> list[Figure]:
    """Shares of the peak, shares of the bandwidth, memory."""
    goals, processor = {case.variant.name: case for case in CASES}, cpu_class(this_machine()["features"])
    convolutions, connected, memory = [], [], []
    for times in models:
        case = goals[times.name]
        if case.variant.connected_storage == "float32" and case.variant.algorithms == ("direct",):
            layers = times.of_kind(is_convolution=True)
            goal = case.peak.get(processor)
            convolutions.append(share_of_peak(f"convolutions, {times.name}", layers, limits, goal=goal))
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


if __name__ == "__main__":
    run_command(bench_convolutions)

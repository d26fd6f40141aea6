"""What launches and the host cost a small network; writes docs/results/launches.md and .json.

    python -m tools.bench.launches [--model M] [--device D] [--rounds N]

A run as it is, whose small launches follow each other in one kernel where that pays (`clprune.chaining`); the same
steps with a launch each, on the same buffers; and a call of the Runner without any launch, which is all that the host
does. In turns, in one process. Tune the model before: `clprune tune`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from clprune.darknet.network import load_network
from clprune.device import DeviceInfo
from clprune.opencl import choose
from clprune.runner import Runner
from clprune.turns import Series, in_turns, milliseconds
from tools import RESULTS
from tools.bench.figures import Figure, time_ratio
from tools.bench.machine import device_text
from tools.bench.models import find_cfg, load_or_make_weights
from tools.bench.report import figure_table, make_section, show, table_of, write_section
from tools.terminal import options, run_command

#: Microseconds that the host side of a run may take.
HOST_GOAL = 20.0

HEADING = """
# What launches and the host cost a small network

Written by `tools/bench/launches.py`: one image, answers read back, in turns within one process. "Each by itself": the
same steps on the same buffers with a launch for every kernel. "Host side": a call of the Runner without any launch.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchTimes:
    """Whole calls of one Runner, and how many launches one has, as it is and with one for each kernel."""

    joined: Series
    single: Series
    host: Series
    joined_launches: int
    single_launches: int

    def figures(self) -> list[Figure]:
        """Joined over single, and the host side."""
        host = Figure(
            name="host side",
            best=self.host.best_ms * 1e3,
            median=self.host.median_ms * 1e3,
            goal=HOST_GOAL,
            unit=" us",
        )
        return [time_ratio("as it is / each launch by itself", self.joined, [self.single]), host]


def time_launches(runner: Runner, *, rounds: int, seed: int = 1) -> LaunchTimes:
    """Call `runner` with seeded noise, a warmed-up round of each way before `rounds` of them.

    Raises LaunchError, UsageError.
    """
    whole = runner.bound
    single = tuple(kernel for step in whole.steps for kernel in step.bound.kernels)
    x = np.random.default_rng(seed).random((runner.network.batch, *runner.network.input.dimensions), np.float32)

    def turn(launches: tuple[Any, ...]) -> Callable[[], float]:
        bound = dataclasses.replace(whole, launches=launches)

        def run() -> float:
            runner._bound = bound  # the same call, with other launches
            return milliseconds(lambda: runner(x))

        return run

    try:
        ways = [turn(whole.launches), turn(single), turn(())]
        series = [
            Series(samples_ms=tuple(times)) for times in in_turns(ways, rounds=rounds, warmup=max(1, rounds // 10))
        ]
    finally:
        runner._bound = whole
    joined, alone, host = series
    return LaunchTimes(
        joined=joined,
        single=alone,
        host=host,
        joined_launches=len(whole.launches),
        single_launches=len(single),
    )


@click.command()
@options(
    models={"flag": "--model", "multiple": True, "metavar": "M", "help": "Default: the shipped quarter-width models."},
    device=None,
    rounds=300,
    out=RESULTS / "launches.json",
)
def bench_launches(models: tuple[str, ...], device: str | None, rounds: int, out: Path) -> None:
    """Time launches and host of each model."""
    info = choose(device)
    for model in models or ("vgg16-digits", "vgg16-digits-pruned75"):
        cfg = find_cfg(model)
        title = f"{cfg.stem}, {info.platform_name}"
        section = _measure(cfg, info, rounds=rounds)
        show(title, section["parts"])
        write_section(out, title, section, heading=HEADING)


def _measure(cfg: Path, info: DeviceInfo, *, rounds: int) -> dict[str, Any]:
    network = load_network(cfg)
    weights, origin = load_or_make_weights(network, seed=1)
    runner = Runner(network, weights, device=info.selector)
    try:
        times = time_launches(runner, rounds=rounds)
    finally:
        runner.close()
    return section_of(times, origin=origin, rounds=rounds, device=device_text(info))


def section_of(times: LaunchTimes, *, origin: str, rounds: int, device: str) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    ways = (
        ("as it is", times.joined_launches, times.joined),
        ("each by itself", times.single_launches, times.single),
        ("host side", 0, times.host),
    )
    rows = [
        (name, count, f"{series.best_ms * 1e3:.1f}", f"{series.median_ms * 1e3:.1f}") for name, count, series in ways
    ]
    figures = times.figures()
    return make_section(
        ["clprune", "numpy", "pyopencl"],
        text=f"OpenCL: {device}. Weights: {origin}. {rounds} rounds.",
        parts=[table_of(("run", "launches", "best us", "median us"), rows), figure_table(figures)],
        figures=figures,
        device=device,
        rounds=rounds,
        **{name.replace(" ", "_"): {"launches": count, **series.to_dict()} for name, count, series in ways},
    )


if __name__ == "__main__":
    run_command(bench_launches)

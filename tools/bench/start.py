"""How long `clprune infer` takes as a whole process, for one image; writes docs/results/start.md and .json.

    python -m tools.bench.start [--device D] [--rounds N]

From the start of the interpreter to the end of the process, once with new folders for every cache of built kernels
(clprune's and the drivers') and once with what that run left there. Tune the model before: `clprune tune`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clprune.opencl import choose
from clprune.resources import models_folder
from clprune.turns import Series, in_turns, milliseconds
from tools import RESULTS
from tools.bench.figures import Figure
from tools.bench.models import find_cfg
from tools.bench.process import run_process
from tools.bench.report import figure_table, make_section, show, write_section
from tools.terminal import options, run_command, say

#: Folders in which clprune and OpenCL drivers keep built kernels: ours, PoCL's, NVIDIA's, Intel's, Mesa's, and what
#: follows the desktop's rules (pyopencl among them).
CACHE_VARIABLES = (
    "CLPRUNE_CACHE_DIR",
    "POCL_CACHE_DIR",
    "CUDA_CACHE_PATH",
    "NEO_CACHE_DIR",
    "MESA_SHADER_CACHE_DIR",
    "XDG_CACHE_HOME",
)

#: A command that has not ended by then never will.
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class StartTimes:
    """Milliseconds of whole processes."""

    empty: Series
    warm: Series


def time_starts(command: Sequence[str], *, rounds: int, say: Callable[[str], None]) -> StartTimes:
    """Run `command` twice in each of `rounds` rounds: with new cache folders, and again with what the first run left.

    The files of the programs themselves are in the system's memory from a first run that does not count. Raises
    WorkerError when the command fails.
    """

    def turn() -> tuple[float, float]:
        with tempfile.TemporaryDirectory(prefix="clprune-caches-") as folder:
            environment = cache_environment(Path(folder))
            times = _milliseconds(command, environment), _milliseconds(command, environment)
        say(f"{times[0]:.0f} ms with empty caches, {times[1]:.0f} ms with warm ones")
        return times

    (samples,) = in_turns([turn], rounds=rounds)
    empty, warm = (Series(samples_ms=times) for times in zip(*samples, strict=True))
    return StartTimes(empty=empty, warm=warm)


def cache_environment(folder: Path) -> dict[str, str]:
    """Every cache variable, each with a new folder of its own in `folder`."""
    variables = {}
    for name in CACHE_VARIABLES:
        place = folder / name.lower()
        place.mkdir()
        variables[name] = str(place)
    return variables


def _milliseconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    name = " ".join(command)
    return milliseconds(lambda: run_process(command, name=name, limit_s=_LIMIT_SECONDS, environment=environment))


#: What the installed command does.
CLPRUNE = (sys.executable, "-c", "from clprune.cli import main; main()")

#: Seconds of the whole process.
EMPTY_GOAL, WARM_GOAL = 1.5, 0.7

HEADING = """
# How long a whole `clprune infer` takes

Written by `tools/bench/start.py`: seconds from the start of the interpreter to the end of the process, for one image.
Empty: new folders for clprune's and the drivers' caches of built kernels. Warm: with what that run left there.
"""


@click.command()
@options(
    models={"flag": "--model", "multiple": True, "metavar": "M", "help": "Default: the shipped quarter-width models."},
    image={"type": click.Path(exists=True, path_type=Path), "help": "Default: one of the shipped samples."},
    device=None,
    rounds=7,
    out=RESULTS / "start.json",
)
def bench_start(models: tuple[str, ...], image: Path | None, device: str | None, rounds: int, out: Path) -> None:
    """Time the command for each model."""
    image = image or min((models_folder() / "samples").glob("*.png"))
    info = choose(device)
    for model in models or ("vgg16-digits", "vgg16-digits-pruned75"):
        cfg = find_cfg(model)
        arguments = ["infer", str(cfg), str(image), "--device", info.selector]
        times = time_starts([*CLPRUNE, *arguments], rounds=rounds, say=say)
        section = section_of(times, rounds=rounds, device=f"{info.platform_name}, driver {info.driver_version}")
        title = f"{cfg.stem}, {info.platform_name}"
        show(title, section["parts"])
        write_section(out, title, section, heading=HEADING)


def section_of(times: StartTimes, *, rounds: int, device: str) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    goals = ((times.empty, "empty caches", EMPTY_GOAL), (times.warm, "warm caches", WARM_GOAL))
    figures = [
        Figure(name=name, best=series.best_ms / 1e3, median=series.median_ms / 1e3, goal=goal, unit=" s")
        for series, name, goal in goals
    ]
    return make_section(
        ["clprune", "numpy", "pyopencl"],
        text=f"OpenCL: {device}. {rounds} rounds.",
        parts=[figure_table(figures)],
        figures=figures,
        device=device,
        rounds=rounds,
        empty=times.empty.to_dict(),
        warm=times.warm.to_dict(),
    )


if __name__ == "__main__":
    run_command(bench_start)

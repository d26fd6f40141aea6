"""How long `clprune infer` takes as a whole process, for one image; writes docs/results/start.md and .json.

    python tools/bench_start.py [--device D] [--rounds N]

From the start of the interpreter to the end of the process, once with new folders for every cache of built kernels
(clprune's and the drivers') and once with what that run left there. Tune the model before: `clprune tune`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from clprune.benchmark.figures import FIGURE_COLUMNS, Figure
from clprune.benchmark.machine import circumstances
from clprune.benchmark.models import find_cfg
from clprune.benchmark.report import Section, machine_text, markdown_table, write_section
from clprune.benchmark.start import StartTimes, time_starts
from clprune.cli.common import device_option, one_line_errors, print_table, say
from clprune.opencl import choose
from clprune.resources import models_folder

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "start.json"

#: What the installed command does.
CLPRUNE = (sys.executable, "-c", "from clprune.cli import main; main()")

#: Seconds of the whole process.
EMPTY_GOAL, WARM_GOAL = 1.5, 0.7

HEADING = """
# How long a whole `clprune infer` takes

Written by `tools/bench_start.py`: seconds from the start of the interpreter to the end of the process, for one image.
Empty: new folders for clprune's and the drivers' caches of built kernels. Warm: with what that run left there.
"""


@click.command()
@click.option("--model", "models", multiple=True, metavar="M", help="Default: the shipped quarter-width models.")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: one of the shipped samples.")
@device_option
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="JSON file to write.")
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
        print_table(FIGURE_COLUMNS, section["figures_table"], title=title)
        write_section(out, title, section, heading=HEADING, render=render_section)


def section_of(times: StartTimes, *, rounds: int, device: str) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    goals = ((times.empty, "empty caches", EMPTY_GOAL), (times.warm, "warm caches", WARM_GOAL))
    figures = [
        Figure(name=name, best=series.best_ms / 1e3, median=series.median_ms / 1e3, goal=goal, unit=" s")
        for series, name, goal in goals
    ]
    return {
        **circumstances(["clprune", "numpy", "pyopencl"]),
        "device": device,
        "rounds": rounds,
        "empty": times.empty.to_dict(),
        "warm": times.warm.to_dict(),
        "figures": [figure.to_dict() for figure in figures],
        "figures_table": [figure.row() for figure in figures],
    }


def render_section(section: Section) -> str:
    """A section as Markdown."""
    machine = f"{machine_text(section)} OpenCL: {section['device']}. {section['rounds']} rounds."
    return f"{machine}\n\n{markdown_table(FIGURE_COLUMNS, section['figures_table'])}"


if __name__ == "__main__":
    with one_line_errors():
        bench_start(standalone_mode=False)

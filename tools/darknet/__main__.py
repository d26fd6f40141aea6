"""Which of darknet's cfgs run, and what its own libraries compute; writes docs/results/darknet.md and .json.

    python -m tools.darknet survey FOLDER... [--side N] [--device D]
    python -m tools.darknet compare FOLDER CFG... [--rounds N] [--device D]
    python -m tools.darknet memory CFG... [--images N] [--device D]

`survey`: every cfg of the folders with random weights, each layer against the float64 reference. `compare`: each layer
against the library in FOLDER, and both timed in turns. Debian's package `darknet` has pjreddie's in /usr/lib/darknet.
AlexeyAB's is built from github.com/AlexeyAB/darknet, into the folder itself:

    make AVX=1 OPENMP=1 LIBSO=1

`memory`: resident memory while many images go through one Detector, and one Runner, of each cfg.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from clprune.container.load import save_weights
from clprune.container.model import Model
from clprune.darknet.random_weights import random_images
from clprune.errors import ClpruneError, WorkerError
from clprune.opencl import choose, open_device
from clprune.runner import Runner
from clprune.turns import in_turns, milliseconds
from tools import RESULTS
from tools.bench.machine import device_text
from tools.bench.process import run_process
from tools.bench.report import make_section, read_section, show, table_of, write_section
from tools.bench.workers import Turn, Worker
from tools.darknet.memory import of_detector, of_runner
from tools.darknet.network import read_network, well_conditioned
from tools.darknet.outputs import device_outputs, errors_of
from tools.terminal import options, run_command, say

HEADING = """
# Networks of darknet and its forks

Written by `python -m tools.darknet`. Weights are random and well-conditioned, images are noise. An error is the largest
difference over the largest value of a layer.
"""

PACKAGES = ("clprune", "numpy", "pyopencl")
LIMIT_S = 900.0
RIGHT = "right"


_SIDE = "Images of at most so many pixels a side, where the network can."


@click.group()
def darknet() -> None:
    """Networks of darknet and its forks: do they run, are they right, how fast."""


@darknet.command("survey")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@options(
    side={"type": int, "default": 128, "help": _SIDE},
    device=None,
    seed=0,
    resume={"default": False, "help": "Keep the rows of an earlier run that were right."},
    out=RESULTS / "darknet.json",
)
def survey_folders(  # noqa: PLR0917 - click gives them by name
    folders: Sequence[Path], side: int, device: str | None, seed: int, resume: bool, out: Path
) -> None:
    """Every cfg of FOLDERS against the float64 reference."""
    info = choose(device)
    title = f"{_title(folders)}, {info.platform_name}"
    before = {tuple(row[:2]): row for row in _rows(out, title) if row[4] == RIGHT} if resume else {}
    rows: list[Sequence[object]] = []
    known: dict[bytes, dict[str, Any]] = {}  # forks share many files
    for folder in folders:
        for cfg in sorted(folder.glob("*.cfg")):
            names, text = (cfg.stem, _fork(folder)), cfg.read_bytes()
            if names not in before and text not in known:
                known[text] = _survey_process(cfg, side=side, device=info.selector, seed=seed)
            found = known.get(text, {})
            rows.append(
                before.get(names) or (*names, *(found.get(key, "") for key in ("layers", "input", "state", "text")))
            )
            say("  ".join(map(str, rows[-1])))
    states = Counter(str(row[4]) for row in rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    text = f"OpenCL: {device_text(info)}. Images of at most {side} x {side} where a network can have such; seed {seed}."
    columns = ("cfg", "of", "layers", "input", "state", "largest error of its tolerance, or the reason")
    parts = [f"{counts}.", table_of(columns, rows)]
    section = make_section(PACKAGES, text=text, parts=parts, states=dict(states))
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


@darknet.command("compare")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(
    name={"default": "darknet", "help": "What to call the library."},
    side={"type": int, "default": 256, "help": _SIDE},
    rounds={"type": int, "default": 3, "help": "Measure times in so many turns; 0: errors alone."},
    device=None,
    seed=0,
    resume={"default": False, "help": "Keep the rows of an earlier run for other cfgs."},
    out=RESULTS / "darknet.json",
)
def compare_library(  # noqa: PLR0917 - click gives them by name
    folder: Path,
    cfgs: Sequence[Path],
    name: str,
    side: int,
    rounds: int,
    device: str | None,
    seed: int,
    resume: bool,
    out: Path,
) -> None:
    """Each layer of CFGS against the library in FOLDER, and both timed."""
    info = choose(device)
    title = f"Against {name}, {info.platform_name}"
    load = os.getloadavg()[0]
    rows: dict[str, Sequence[object]] = {row[0]: row for row in _rows(out, title)} if resume else {}
    for cfg in cfgs:
        try:
            rows[cfg.stem] = _compare(cfg, folder=folder, side=side, device=info.selector, rounds=rounds, seed=seed)
        except ClpruneError as error:
            rows[cfg.stem] = (cfg.stem, "", "", "", str(error).replace(str(cfg.parent), ""), "", "", "")
        say("  ".join(map(str, rows[cfg.stem])))
    columns = (
        "cfg",
        "input",
        "layers compared",
        "largest error",
        "error of the last layer",
        f"{name} ms",
        "clprune ms",
        "ratio",
    )
    times = f"{rounds} rounds in turns, best times; load of the machine before: {load:.1f}" if rounds else "No times"
    text = f"OpenCL: {device_text(info)}, default or tuned tiles. {times}; seed {seed}."
    section = make_section(PACKAGES, text=text, parts=[table_of(columns, list(rows.values()))], rounds=rounds)
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


@darknet.command("memory")
@click.argument("cfgs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(
    images=10_000,
    side={"type": int, "default": 64, "help": _SIDE},
    device=None,
    seed=0,
    out=RESULTS / "darknet.json",
)
def measure_memory(  # noqa: PLR0917 - click gives them by name
    cfgs: Sequence[Path], images: int, side: int, device: str | None, seed: int, out: Path
) -> None:
    """What the process holds while images go through one Detector and one Runner of each of CFGS, detectors."""
    info = choose(device)
    rows = []
    for cfg in cfgs:
        with tempfile.TemporaryDirectory(prefix="clprune-memory-") as work:
            network = read_network(cfg, side=side, work=Path(work))
            model = Model(network=network, weights=well_conditioned(network, seed=seed))
            for what, measured in (("Detector", of_detector), ("Runner", of_runner)):
                found = measured(model, images=images, every=images // 10, device=info.selector)
                rows.append((cfg.stem, what, str(network.input), *(f"{mb:.1f}" for mb in found)))
                say("  ".join(map(str, rows[-1])))
    counts = [f"MB after {part * (images // 10)}" for part in range(1, 11)]
    text = f"OpenCL: {device_text(info)}. Images of at most {side} x {side} where a network can have such; seed {seed}."
    section = make_section(PACKAGES, text=text, parts=[table_of(("cfg", "by", "input", *counts), rows)])
    title = f"Memory over {images} images, {info.platform_name}"
    show(title, section["parts"])
    write_section(out, title, section, heading=HEADING)


def _title(folders: Sequence[Path]) -> str:
    return "Every cfg of " + ", ".join(map(_fork, folders))


def _fork(folder: Path) -> str:
    return folder.parent.name if folder.name == "cfg" else folder.name


def _rows(out: Path, title: str) -> list[list[str]]:
    """The rows that an earlier run wrote."""
    section = read_section(out, title)
    return section["parts"][-1]["rows"] if section else []


def _survey_process(cfg: Path, *, side: int, device: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.darknet.survey", str(cfg), "--side", str(side), "--seed", str(seed)]
    try:
        found: dict[str, Any] = json.loads(run_process([*command, "--device", device], name=cfg.name, limit_s=LIMIT_S))
    except WorkerError as error:
        return {"state": "failed", "text": str(error)}
    return found


def _compare(cfg: Path, *, folder: Path, side: int, device: str, rounds: int, seed: int) -> tuple[object, ...]:
    """A row of the table: errors of the layers that are not softmax, and times."""
    with tempfile.TemporaryDirectory(prefix="clprune-compare-") as work:
        network = read_network(cfg, side=side, work=Path(work))
        weights, x = well_conditioned(network, seed=seed), random_images(network, seed=seed)
        file, outputs = Path(work) / "random.weights", Path(work) / "outputs.npz"
        save_weights(file, network, weights)
        command = [sys.executable, "-m", "tools.darknet.outputs"]
        asked = {"cfg": str(network.path), "weights": str(file), "outputs": str(outputs)}
        with (
            open_device(device) as session,
            Worker(command, name=folder.name, engine=str(folder), options=asked, cpus=range(256)) as worker,
        ):
            worker.run(x)
            with Runner(network, weights, session=session, keep_tensors=True) as kept:
                ours = device_outputs(kept, x)
            kinds = {layer.index: layer.kind for layer in network.layers}
            with np.load(outputs) as theirs:
                errors = errors_of(ours, lambda index: theirs[str(index)])
            errors = {index: error for index, error in errors.items() if kinds[index] not in ("softmax", "cost")}
            turns: list[list[float]] = []
            if rounds:
                with Runner(network, weights, session=session) as runner:
                    turns = in_turns(
                        [
                            lambda: min(worker.time(Turn(warmup=0, runs=1, seconds=0))),
                            lambda: milliseconds(lambda: runner(x)),
                        ],
                        rounds=rounds,
                    )
    best = [min(times) for times in turns]
    worst = max(errors, key=lambda index: errors[index])
    return (
        cfg.stem,
        str(network.input),
        f"{len(errors)} of {len(network.layers)}",
        f"{errors[worst]:.1e} (layer {worst}, {kinds[worst]})",
        f"{errors[max(errors)]:.1e}",
        *((f"{best[0]:.1f}", f"{best[1]:.1f}", f"{best[1] / best[0]:.3f}") if best else ("", "", "")),
    )


if __name__ == "__main__":
    run_command(darknet)

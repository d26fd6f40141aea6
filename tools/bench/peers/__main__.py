"""clprune beside other engines on CPUs: one run, same threads, in turns; writes docs/results/peers.md and .json.

    pip install -r tools/bench/peers/requirements.txt
    python -m tools.bench.peers [--model M]... [--batch N]... [--device D] [--tune SECONDS] [--quick]

Every engine runs in a process of its own that is stopped while it is not its turn, with the same arrays as weights,
float32 throughout (the fully connected layers' weights are stored as float16 in the row that says so), from an array
in host memory to an array in host memory. Answers are compared with a float64 reference before anything is timed.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clprune.device import DeviceInfo
from clprune.errors import UsageError
from clprune.opencl import choose
from tools import RESULTS
from tools.bench.contest import hold_contest
from tools.bench.machine import usable_cpus
from tools.bench.options import preparation_options, take_preparation
from tools.bench.peers.contestants import (
    PEER_ROWS,
    RIVALS,
    VARIANTS,
    own_contestants,
    peer_contestants,
    peer_rows,
    trained_pairs,
)
from tools.bench.peers.engines import ENGINES
from tools.bench.peers.section import goal_figures, render_section, section_of, show
from tools.bench.prepare import Entry, Preparation, prepare
from tools.bench.report import write_section
from tools.bench.workers import Turn
from tools.terminal import device_option, run_command, say

OUT = RESULTS / "peers.json"
MODELS = ("vgg16", "vgg16-digits")
BATCHES = (1, 8)

HEADING = """
# clprune beside other engines

Written by `tools/bench/peers`. Every engine runs in a process of its own, stopped while it is not its turn, with
the same arrays as weights and the same number of threads, from an array in host memory to an array in host memory.
Peers run the dense network in float32. Of clprune's rows, "75 % + 90 %" has 75 % of the weights of the convolutions
(but the first) and 90 % of those of the fully connected layers removed, in units of the tuned tile's rows x 1 column.
"direct" computes convolutions directly; in the other rows each layer's algorithm is the fastest that tuning measured,
and "best domain" prunes each layer spatially or in the Winograd domain of F(4x4, 3x3), whichever is faster. Answers
were compared with a float64 reference first; the error is the largest of the logits', relative to the largest logit.
ncnn takes a batch image by image.
"""


@click.command()
@click.option("--model", "models", multiple=True, metavar="M", help=f"Default: {' and '.join(MODELS)}.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), help="Default: 1 and 8.")
@device_option
@click.option("--peers", metavar="NAME,...", help="Engines beside clprune. Default: those that are installed.")
@click.option("--python", "pythons", multiple=True, metavar="NAME=PATH", help="Another Python for an engine.")
@click.option("--rounds", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Default: every processor that may be used.")
@preparation_options
@click.option("--work", type=click.Path(path_type=Path), help="Keep the models' files there. Default: a new folder.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="JSON file to write.")
@click.option("--quick", is_flag=True, help="vgg16-digits in batches of 1, 2 rounds; nothing is written.")
def bench_peers(models: Sequence[str], batches: Sequence[int], out: Path, quick: bool, **options: Any) -> None:
    """Time clprune and its peers on each model and batch size."""
    if quick:
        models, batches = models or MODELS[1:], batches or BATCHES[:1]
        options["rounds"] = 2
    settings = Settings.of(preparation=take_preparation(options), **options)
    for model in models or MODELS:
        for batch in batches or BATCHES:
            with tempfile.TemporaryDirectory(prefix="clprune-bench-") as own:
                title, section = measure(model, batch, settings, folder=settings.work or Path(own))
            show(title, section)
            if not quick:
                write_section(out, title, section, heading=HEADING, render=render_section)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options, checked."""

    device: DeviceInfo
    engines: tuple[str, ...]
    interpreters: Mapping[str, str]
    rounds: int
    cpus: tuple[int, ...]
    preparation: Preparation
    work: Path | None

    @classmethod
    def of(
        cls,
        *,
        device: str | None,
        peers: str | None,
        pythons: Sequence[str],
        rounds: int,
        threads: int | None,
        work: Path | None,
        preparation: Preparation,
    ) -> Settings:
        """From the command line. Raises UsageError."""
        interpreters = parse_pythons(pythons)
        if work is not None:
            work.mkdir(parents=True, exist_ok=True)
        return cls(
            device=choose(device),
            engines=tuple(choose_peers(peers, interpreters)),
            interpreters=interpreters,
            rounds=rounds,
            cpus=tuple(usable_cpus()[:threads]),
            preparation=preparation,
            work=work,
        )


def measure(model: str, batch: int, settings: Settings, *, folder: Path) -> tuple[str, dict[str, Any]]:
    """Title and content of the section for one model and batch size."""
    entry = Entry(model=model, batch=batch, variants=VARIANTS, pairs=trained_pairs(model))
    prepared = prepare(entry, settings.preparation, device=settings.device, folder=folder, say=say)
    threads = len(settings.cpus)
    peers = peer_rows(settings.engines, interpreters=settings.interpreters)
    outcome = hold_contest(
        [
            *own_contestants(prepared),
            *peer_contestants(prepared, peers, threads=threads, folder=folder),
        ],
        x=prepared.x,
        expected=prepared.expected,
        is_softmax=prepared.is_softmax,
        cpus=settings.cpus,
        rounds=settings.rounds,
        turn=Turn() if batch == 1 else Turn(warmup=1, runs=2),
        say=say,
    )
    title = f"{prepared.network.path.stem}, {prepared.network.input}, batch {batch}, {settings.device.platform_name}"
    facts = {"threads": threads, "rounds": settings.rounds, "seed": settings.preparation.seed}
    return title, section_of(prepared, outcome, facts, goal_figures(outcome.rows, prepared.network.path.stem))


def parse_pythons(texts: Sequence[str]) -> dict[str, str]:
    """Engine -> interpreter. Raises UsageError."""
    interpreters = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if name not in ENGINES or not equals:
            raise UsageError(f"--python {text}: expected NAME=PATH with one of {', '.join(ENGINES)}")
        interpreters[name] = path
    return interpreters


def choose_peers(text: str | None, interpreters: Mapping[str, str]) -> list[str]:
    """The engines asked for, else those that are installed here or have an interpreter. Raises UsageError."""
    if text is not None:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in PEER_ROWS]
        if unknown:
            raise UsageError(f"peer {unknown[0]!r}: expected some of {', '.join(PEER_ROWS)}")
        return names
    found = [name for name in PEER_ROWS if importlib.util.find_spec(ENGINES[name][1]) or name in interpreters]
    missing = [name for name in RIVALS if name not in found]
    if missing:
        say(f"not installed: {', '.join(missing)} (pip install -r tools/bench/peers/requirements.txt)")
    return found


if __name__ == "__main__":
    run_command(bench_peers)

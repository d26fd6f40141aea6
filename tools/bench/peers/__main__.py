"""clprune beside other engines on CPUs: one run, same threads, in turns; writes docs/results/peers.md and .json.

    pip install -r tools/bench/peers/requirements.txt
    python -m tools.bench.peers [--model M]... [--batch N]... [--device D] [--tune SECONDS] [--quick]

Every engine runs in a process of its own that is stopped while it is not its turn, with the same arrays as weights,
float32 throughout (the fully connected layers' weights are stored as float16 in the row that says so), from an array
in host memory to an array in host memory. Answers are compared with a float64 reference before anything is timed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from clprune.darknet.kinds.connected import Connected
from clprune.darknet.network import load_network
from clprune.errors import UsageError
from clprune.opencl import choose
from tools import RESULTS
from tools.bench.contest import hold_contest
from tools.bench.machine import cpu_class, this_machine, usable_cpus
from tools.bench.models import find_cfg
from tools.bench.peers.contestants import DENSE, PEER_ROWS, RIVALS, VARIANTS, own_contestants, peer_row, trained_pairs
from tools.bench.peers.engines import ENGINES
from tools.bench.peers.goals import goals_of
from tools.bench.peers.mean import mean_section
from tools.bench.peers.section import goal_figures, section_of
from tools.bench.prepare import PREPARATION, Entry, Preparation, prepare
from tools.bench.report import read_sections, show, write_section
from tools.bench.units import Variant
from tools.bench.workers import Turn
from tools.terminal import COUNT, options, run_command, say

MODELS = ("vgg16", "vgg16-digits")
BATCHES = (1, 8)

MEAN = "All networks but VGG16, batch 1"

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
@options(
    models={"flag": "--model", "multiple": True, "metavar": "M", "help": f"Default: {' and '.join(MODELS)}."},
    batches={"flag": "--batch", "multiple": True, "type": COUNT, "help": "Default: 1 and 8."},
    device=None,
    peers={"metavar": "NAME,...", "help": "Engines beside clprune. Default: those that are installed."},
    pythons={"flag": "--python", "multiple": True, "metavar": "NAME=PATH", "help": "Another Python for an engine."},
    rounds=12,
    threads=None,
    **PREPARATION,
    work={"help": "Keep the models' files there. Default: a new folder."},
    out=RESULTS / "peers.json",
    quick={"default": False, "help": "vgg16-digits in batches of 1, 2 rounds; nothing is written."},
)
def bench_peers(models: Sequence[str], batches: Sequence[int], work: Path | None, quick: bool, **options: Any) -> None:
    """Time clprune and its peers on each model and batch size."""
    if quick:
        models, batches = models or MODELS[1:], batches or BATCHES[:1]
        options["rounds"] = 2
    preparation, interpreters = Preparation.take(options), parse_pythons(options["pythons"])
    device, peers = choose(options["device"]), choose_peers(options["peers"], interpreters)
    cpus = usable_cpus()[: options["threads"]]
    for model in models or MODELS:
        for batch in batches or BATCHES:
            with tempfile.TemporaryDirectory(prefix="clprune-bench-") as own:
                folder = work or Path(own)
                folder.mkdir(parents=True, exist_ok=True)
                entry = Entry(model=model, batch=batch, variants=variants_of(model), pairs=trained_pairs(model))
                prepared = prepare(entry, preparation, device=device, folder=folder, say=say)
                rows = [
                    peer_row(
                        label,
                        engine,
                        prepared.files[DENSE.weights_name],
                        threads=len(cpus),
                        options=further,
                        interpreter=interpreters.get(engine, sys.executable),
                        batch=batch,
                    )
                    for engine in peers
                    for label, further in PEER_ROWS[engine].items()
                ]
                outcome = hold_contest(
                    [*own_contestants(prepared), *rows],
                    x=prepared.x,
                    expected=prepared.expected,
                    is_softmax=prepared.is_softmax,
                    cpus=cpus,
                    rounds=options["rounds"],
                    turn=Turn() if batch == 1 else Turn(warmup=1, runs=2),
                    say=say,
                )
                processor = cpu_class(this_machine()["features"])
                figures = goal_figures(outcome.rows, goals_of(prepared.network.path.stem, batch, processor))
                facts = {"threads": len(cpus), "rounds": options["rounds"], "seed": preparation.seed}
                section = section_of(prepared, outcome, figures, **facts)
            title = f"{prepared.network.path.stem}, {prepared.network.input}, batch {batch}, {device.platform_name}"
            show(title, section["parts"])
            if not quick:
                write_section(options["out"], title, section, heading=HEADING)
                mean = mean_section(read_sections(options["out"]), device.platform_name)
                if mean is not None:
                    write_section(options["out"], f"{MEAN}, {device.platform_name}", mean, heading=HEADING)


def variants_of(model: str) -> list[Variant]:
    """clprune's rows that differ for a model: without connected layers none stores their weights in another way."""
    layers = load_network(find_cfg(model)).layers
    has_connected = any(isinstance(layer, Connected) for layer in layers)
    return [one for one in VARIANTS if has_connected or one.connected_storage == "float32"]


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

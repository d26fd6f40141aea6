"""How small VGG16 is on disk in each form, and how long it takes to load; writes docs/results/packed_size.md and .json.

    python -m tools.bench.packed_size [--model M] [--rounds N]

Weights are random (seeded); pruning takes the smallest ones, in the first convolution too. Loading is timed in a
process of its own, from opening the file to having every layer's codes and float32 values in memory. The model has no
batch normalization, which quantization would fold away.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clprune.container.load import save_weights
from clprune.darknet.network import Network, load_network
from clprune.darknet.quantize import QuantizeSettings, quantize_network
from clprune.darknet.random_weights import random_weights
from clprune.darknet.values import Weights
from clprune.pruning.prune import prune_network
from clprune.pruning.settings import PruneSettings
from clprune.turns import Series
from clprune.unit import Unit
from tools import RESULTS
from tools.bench.figures import Figure
from tools.bench.models import find_cfg
from tools.bench.process import run_process
from tools.bench.report import figure_table, make_section, show, table_of, write_section
from tools.terminal import Say, options, run_command, say

#: A file that has not been loaded by then never will.
LIMIT_SECONDS = 300.0

LOAD = """
import json, sys, time
from clprune.container.load import load_weights
from clprune.darknet.network import load_network
network = load_network(sys.argv[1])
start = time.perf_counter()
weights = load_weights(sys.argv[2], network)
read = time.perf_counter()
arrays = [(layer.weights, layer.coding) for layer in weights.layers if layer is not None]
print(json.dumps({"read_ms": 1e3 * (read - start), "load_ms": 1e3 * (time.perf_counter() - start)}))
"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of a model: how it is pruned (None: dense), coded (None: float32), and the suffix of its file."""

    name: str
    pruning: PruneSettings | None = None
    settings: QuantizeSettings | None = None
    suffix: str = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class PackedSize:
    """A form's file: bytes, milliseconds to read and check it, and to have all codes and float32 values as well."""

    form: str
    size_bytes: int
    read: Series
    load: Series


def measure_form(network: Network, dense: Weights, form: Form, *, folder: Path, rounds: int, say: Say) -> PackedSize:
    """Write `form` of the `dense` weights into `folder` and load it `rounds` times, after one that does not count.

    Each load is a process of its own, with the file in the system's memory. Raises WorkerError when one fails.
    """
    network, weights = _in_form(network, dense, form)
    path = folder / f"form{form.suffix}"
    save_weights(path, network, weights)
    size_bytes = path.stat().st_size
    times = [_load(network.path, path) for _ in range(rounds + 1)][1:]
    path.unlink()
    read, load = (Series(samples_ms=tuple(one[name] for one in times)) for name in ("read_ms", "load_ms"))
    say(f"{form.name}: {size_bytes / 1e6:.2f} MB, {load.best_ms:.0f} ms")
    return PackedSize(form=form.name, size_bytes=size_bytes, read=read, load=load)


def _in_form(network: Network, dense: Weights, form: Form) -> tuple[Network, Weights]:
    weights = dense
    if form.pruning is not None:
        model = prune_network(network, dense, form.pruning).model
        network, weights = model.network, model.weights
    if form.settings is not None:
        weights = quantize_network(network, weights, form.settings)
    return network, weights


def _load(cfg: Path, weights: Path) -> dict[str, float]:
    command = [sys.executable, "-c", LOAD, str(cfg), str(weights)]
    times: dict[str, float] = json.loads(run_process(command, name=f"loading {weights}", limit_s=LIMIT_SECONDS))
    return times


#: Megabytes and seconds of the form that has goals.
SIZE_GOAL, LOAD_GOAL = 18.0, 2.0

LINEAR = QuantizeSettings(scheme="linear", bits=8)
HALF = QuantizeSettings(scheme="half", bits=16)
CODEBOOK_256 = QuantizeSettings(scheme="codebook", bits=8)
CODEBOOK_16 = QuantizeSettings(scheme="codebook", bits=4)


def _pruning(method: str, sparsity: float, *, rows: int = 1) -> PruneSettings:
    """90 % of the connected layers' weights go at least."""
    unit = Unit(rows=rows)
    return PruneSettings(
        method=method,
        sparsity=sparsity,
        fc_sparsity=max(sparsity, 0.9),
        unit_for_layer=lambda layer: unit,
        first_dense=False,
    )


UNSTRUCTURED = _pruning("unstructured", 0.9)
COLUMNS = _pruning("workgroup", 0.75, rows=8)

WITH_GOALS = "90 % unstructured, codebook of 16"
BASE = "dense, float32, darknet's .weights"

FORMS = (
    Form(name=BASE, suffix=".weights"),
    Form(name="dense, float32"),
    Form(name="dense, float16", settings=HALF),
    Form(name="dense, int8", settings=LINEAR),
    Form(name="dense, codebook of 16", settings=CODEBOOK_16),
    Form(name="75 % columns, connected 90 %, float32", pruning=COLUMNS),
    Form(name="75 % columns, connected 90 %, int8", pruning=COLUMNS, settings=LINEAR),
    Form(name="75 % columns, connected 90 %, codebook of 16", pruning=COLUMNS, settings=CODEBOOK_16),
    Form(name="75 % Winograd F(4x4,3x3), connected 90 %, float32", pruning=_pruning("bwsp", 0.75, rows=8)),
    Form(name="90 % unstructured, float32", pruning=UNSTRUCTURED),
    Form(name="90 % unstructured, float16", pruning=UNSTRUCTURED, settings=HALF),
    Form(name="90 % unstructured, int8", pruning=UNSTRUCTURED, settings=LINEAR),
    Form(name="90 % unstructured, codebook of 256", pruning=UNSTRUCTURED, settings=CODEBOOK_256),
    Form(name=WITH_GOALS, pruning=UNSTRUCTURED, settings=CODEBOOK_16),
    Form(name="95 % unstructured, codebook of 16", pruning=_pruning("unstructured", 0.95), settings=CODEBOOK_16),
)

COLUMN_NAMES = ("form", "MB on disk", "of float32", "read and checked, s", "all float32 as well, s", "median, s")

HEADING = """
# How small a model is on disk

Written by `tools/bench/packed_size.py`. MB are 10^6 bytes. Loading is timed in a process of its own, the file being in
the system's memory: from opening it until it is read and checked, and until the codes and float32 values of all layers
are in memory as well, which a run needs of fewer layers. Best runs, and the medians of the latter.
"""


@click.command()
@options(model="vgg16", rounds=5, seed=0, out=RESULTS / "packed_size.json")
def packed_size(model: str, rounds: int, seed: int, out: Path) -> None:
    """Write each form of the model, and time loading it."""
    network = load_network(find_cfg(model))
    dense = random_weights(network, seed=seed)
    with tempfile.TemporaryDirectory(prefix="clprune-packed-") as folder:
        sizes = [measure_form(network, dense, form, folder=Path(folder), rounds=rounds, say=say) for form in FORMS]
    section = section_of(sizes, rounds=rounds, seed=seed)
    show(network.path.stem, section["parts"])
    write_section(out, network.path.stem, section, heading=HEADING)


def section_of(sizes: list[PackedSize], *, rounds: int, seed: int) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    by_name = {size.form: size for size in sizes}
    chosen, base = by_name[WITH_GOALS], by_name[BASE]
    best_s, median_s = chosen.load.best_ms / 1e3, chosen.load.median_ms / 1e3
    figures = [
        Figure(name=f"{WITH_GOALS}: on disk", best=chosen.size_bytes / 1e6, goal=SIZE_GOAL, unit=" MB"),
        Figure(name=f"{WITH_GOALS}: loaded", best=best_s, median=median_s, goal=LOAD_GOAL, unit=" s"),
    ]
    return make_section(
        ["clprune", "numpy", "safetensors"],
        text=f"Random weights, seed {seed}; {rounds} rounds.",
        parts=[figure_table(figures), table_of(COLUMN_NAMES, [row_of(size, base=base) for size in sizes])],
        figures=figures,
        rounds=rounds,
        seed=seed,
        forms=[{**vars(size), "read": size.read.to_dict(), "load": size.load.to_dict()} for size in sizes],
    )


def row_of(size: PackedSize, *, base: PackedSize) -> tuple[str, ...]:
    """A line of the table."""
    return (
        size.form,
        f"{size.size_bytes / 1e6:.2f}",
        f"{100 * size.size_bytes / base.size_bytes:.1f}%",
        f"{size.read.best_ms / 1e3:.2f}",
        f"{size.load.best_ms / 1e3:.2f}",
        f"{size.load.median_ms / 1e3:.2f}",
    )


if __name__ == "__main__":
    run_command(packed_size)

"""How small VGG16 is on disk in each form, and how long it takes to load; writes docs/results/packed_size.md and .json.

    python tools/packed_size.py [--model M] [--rounds N]

Weights are random (seeded); pruning takes the smallest ones, in the first convolution too. Loading is timed in a
process of its own, from opening the file to having every layer's codes and float32 values in memory. The model has no
batch normalization, which quantization would fold away.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from clprune.benchmark.figures import FIGURE_COLUMNS, Figure
from clprune.benchmark.machine import circumstances
from clprune.benchmark.models import find_cfg
from clprune.benchmark.packed_size import Form, PackedSize, measure_form
from clprune.benchmark.report import Section, machine_text, markdown_table, write_section
from clprune.cli.common import one_line_errors, print_table, say
from clprune.darknet.network import load_network
from clprune.darknet.random_weights import random_weights
from clprune.quantization.network import QuantizeSettings
from clprune.unit import Unit

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "packed_size.json"

#: Megabytes and seconds of the form that has goals.
SIZE_GOAL, LOAD_GOAL = 18.0, 2.0

LINEAR = QuantizeSettings(scheme="linear", bits=8)
HALF = QuantizeSettings(scheme="half", bits=16)
CODEBOOK_256 = QuantizeSettings(scheme="codebook", bits=8)
CODEBOOK_16 = QuantizeSettings(scheme="codebook", bits=4)

UNSTRUCTURED: dict[str, Any] = {"method": "unstructured", "sparsity": 0.9, "fc_sparsity": 0.9}
COLUMNS: dict[str, Any] = {"method": "workgroup", "unit": Unit(rows=8), "sparsity": 0.75, "fc_sparsity": 0.9}
WINOGRAD: dict[str, Any] = {"method": "bwsp", "unit": Unit(rows=8), "sparsity": 0.75, "fc_sparsity": 0.9}

WITH_GOALS = "90 % unstructured, codebook of 16"
BASE = "dense, float32, darknet's .weights"

FORMS = (
    Form(name=BASE, suffix=".weights"),
    Form(name="dense, float32"),
    Form(name="dense, float16", settings=HALF),
    Form(name="dense, int8", settings=LINEAR),
    Form(name="dense, codebook of 16", settings=CODEBOOK_16),
    Form(name="75 % columns, connected 90 %, float32", **COLUMNS),
    Form(name="75 % columns, connected 90 %, int8", **COLUMNS, settings=LINEAR),
    Form(name="75 % columns, connected 90 %, codebook of 16", **COLUMNS, settings=CODEBOOK_16),
    Form(name="75 % Winograd F(4x4,3x3), connected 90 %, float32", **WINOGRAD),
    Form(name="90 % unstructured, float32", **UNSTRUCTURED),
    Form(name="90 % unstructured, float16", **UNSTRUCTURED, settings=HALF),
    Form(name="90 % unstructured, int8", **UNSTRUCTURED, settings=LINEAR),
    Form(name="90 % unstructured, codebook of 256", **UNSTRUCTURED, settings=CODEBOOK_256),
    Form(name=WITH_GOALS, **UNSTRUCTURED, settings=CODEBOOK_16),
    Form(
        name="95 % unstructured, codebook of 16",
        method="unstructured",
        sparsity=0.95,
        fc_sparsity=0.95,
        settings=CODEBOOK_16,
    ),
)

COLUMN_NAMES = ("form", "MB on disk", "of float32", "read and checked, s", "all float32 as well, s", "median, s")

HEADING = """
# How small a model is on disk

Written by `tools/packed_size.py`. MB are 10^6 bytes. Loading is timed in a process of its own, the file being in the
system's memory: from opening it until it is read and checked, and until the codes and float32 values of all layers are
in memory as well, which a run needs of fewer layers. Best runs, and the medians of the latter.
"""


@click.command()
@click.option("--model", metavar="M", default="vgg16", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, help="JSON file to write.")
def packed_size(model: str, rounds: int, seed: int, out: Path) -> None:
    """Write each form of the model, and time loading it."""
    network = load_network(find_cfg(model))
    dense = random_weights(network, seed=seed)
    with tempfile.TemporaryDirectory(prefix="clprune-packed-") as folder:
        sizes = [measure_form(network, dense, form, folder=Path(folder), rounds=rounds, say=say) for form in FORMS]
    section = section_of(sizes, rounds=rounds, seed=seed)
    print_table(COLUMN_NAMES, section["table"], title=network.path.stem)
    write_section(out, network.path.stem, section, heading=HEADING, render=render_section)


def section_of(sizes: list[PackedSize], *, rounds: int, seed: int) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it."""
    by_name = {size.form: size for size in sizes}
    chosen, base = by_name[WITH_GOALS], by_name[BASE]
    load = chosen.load
    figures = [
        Figure(name=f"{WITH_GOALS}: on disk", best=chosen.size_bytes / 1e6, goal=SIZE_GOAL, unit=" MB"),
        Figure(
            name=f"{WITH_GOALS}: loaded",
            best=load.best_ms / 1e3,
            median=load.median_ms / 1e3,
            goal=LOAD_GOAL,
            unit=" s",
        ),
    ]
    return {
        **circumstances(["clprune", "numpy", "safetensors"]),
        "rounds": rounds,
        "seed": seed,
        "forms": [
            {
                "form": size.form,
                "size_bytes": size.size_bytes,
                "read": size.read.to_dict(),
                "load": size.load.to_dict(),
            }
            for size in sizes
        ],
        "table": [row_of(size, base=base) for size in sizes],
        "figures": [figure.to_dict() for figure in figures],
        "figures_table": [figure.row() for figure in figures],
    }


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


def render_section(section: Section) -> str:
    """A section as Markdown."""
    machine = f"{machine_text(section)} Random weights, seed {section['seed']}; {section['rounds']} rounds."
    figures = markdown_table(FIGURE_COLUMNS, section["figures_table"])
    return f"{machine}\n\n{figures}\n\n{markdown_table(COLUMN_NAMES, section['table'])}"


if __name__ == "__main__":
    with one_line_errors():
        packed_size(standalone_mode=False)

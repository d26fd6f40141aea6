"""The section of a run in the results: everything that was measured, and the goals beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from tools.bench.contest import ROW_COLUMNS, Outcome, Row, contest_rows
from tools.bench.figures import FIGURE_COLUMNS, Figure, time_ratio
from tools.bench.machine import circumstances
from tools.bench.peers.contestants import BEST_DOMAINS, DENSE, FASTEST_DENSE, HALF, PRUNED, RIVALS, TRAINED
from tools.bench.prepare import Prepared
from tools.bench.report import Section, machine_text, markdown_table
from tools.terminal import print_table

#: Share of the convolutions' weights removed, each in its best domain -> goal.
BEST_DOMAIN_GOALS = {0.75: 0.24, 0.875: 0.17, 0.95: 0.17}

#: Row -> goal of its time over the fastest rival's, on VGG16 at 224 x 224; None: no goal is set. Dense direct
#: convolution is compared with the best of PyTorch as well.
RIVAL_GOALS: Mapping[str, float | None] = {
    DENSE.name: None,
    FASTEST_DENSE.name: 1.0,
    PRUNED.name: 0.42,
    HALF.name: 0.42,
    TRAINED: None,
    **{variant.name: BEST_DOMAIN_GOALS[variant.sparsity] for variant in BEST_DOMAINS},
}
DENSE_GOAL = 1.0
MODEL_WITH_GOALS = "vgg16"


def section_of(
    prepared: Prepared, outcome: Outcome, facts: Mapping[str, Any], figures: Sequence[Figure]
) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it; `facts` go in as they are: threads, rounds, seed."""
    device, batch = prepared.device, prepared.entry.batch
    versions = {row.engine: str(row.description["version"]) for row in outcome.rows}
    known = circumstances(["numpy", "onnx", "pyopencl"])
    return {
        **known,
        "versions": versions | known["versions"],
        "device": f"{device.name}, {device.platform_name}, driver {device.driver_version}" if device else "none",
        "batch": batch,
        **facts,
        "weights": prepared.weights_source,
        "units": {name: list(files.units) for name, files in prepared.files.items() if files.units},
        "rows": [row.to_dict() for row in outcome.rows],
        "table": contest_rows(outcome.rows, batch=batch),
        "failures": dict(outcome.failures),
        "figures": [figure.to_dict() for figure in figures],
        "figures_table": [figure.row() for figure in figures],
    }


def goal_figures(rows: Sequence[Row], model: str) -> list[Figure]:
    """The ratios of the rows that there are, with their goals where the model has any."""
    by_label = {row.label: row.series for row in rows}
    pytorch = [row.series for row in rows if row.engine == "pytorch"]
    rivals = [row.series for row in rows if row.engine in RIVALS]
    has_goals = model == MODEL_WITH_GOALS
    figures = []
    if DENSE.name in by_label and pytorch:
        goal = DENSE_GOAL if has_goals else None
        figures.append(time_ratio("dense, direct / best of PyTorch", by_label[DENSE.name], pytorch, goal=goal))
    for label, goal in RIVAL_GOALS.items():
        if label in by_label and rivals:
            name = label.removeprefix("clprune, ")
            figures.append(
                time_ratio(f"{name} / fastest peer", by_label[label], rivals, goal=goal if has_goals else None)
            )
    deepsparse = [row.series for row in rows if row.engine == "deepsparse"]
    if FASTEST_DENSE.name in by_label and deepsparse:
        figures.append(time_ratio("dense / DeepSparse", by_label[FASTEST_DENSE.name], deepsparse))
    return figures


def render_section(section: Section) -> str:
    """A section as Markdown."""
    parts = [
        f"{machine_text(section)} OpenCL device: {section['device']}. {section['threads']} threads, "
        f"{section['rounds']} rounds in turns. Weights: {section['weights']}; images: noise, seed {section['seed']}.",
        markdown_table(ROW_COLUMNS, section["table"]),
        markdown_table(FIGURE_COLUMNS, section["figures_table"]),
    ]
    parts += [f"{label} was not timed: {reason}." for label, reason in section["failures"].items()]
    return "\n\n".join(parts)


def show(title: str, section: Section) -> None:
    """The tables on stdout."""
    print_table(ROW_COLUMNS, section["table"], title=title)
    click.echo()
    print_table(FIGURE_COLUMNS, section["figures_table"])
    click.echo()

"""The section of a run in the results: everything that was measured, and the goals beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from clprune.benchmark.contest import ROW_COLUMNS, Outcome, Row, contest_rows
from clprune.benchmark.figures import FIGURE_COLUMNS, Figure, time_ratio
from clprune.benchmark.machine import package_versions, this_machine, today
from clprune.benchmark.prepare import Prepared
from clprune.benchmark.report import Section, machine_text, markdown_table
from clprune.cli.common import print_table
from peers.contestants import DENSE, HALF, PRUNED, RIVALS, SPARSER, TRAINED

#: Model -> (goal of dense over PyTorch, of pruned over the fastest rival).
GOALS = {"vgg16": (1.0, 0.42)}


def section_of(
    prepared: Prepared, outcome: Outcome, facts: Mapping[str, Any], figures: Sequence[Figure]
) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it; `facts` go in as they are: threads, rounds, seed."""
    device, batch = prepared.device, prepared.entry.batch
    versions = {row.engine: str(row.description["version"]) for row in outcome.rows}
    return {
        "date": today(),
        "machine": asdict(this_machine()),
        "versions": versions | package_versions(["numpy", "onnx", "pyopencl"]),
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
    dense_goal, pruned_goal = GOALS.get(model, (None, None))
    figures = []
    if DENSE.name in by_label and pytorch:
        figures.append(time_ratio("dense / best of PyTorch", by_label[DENSE.name], pytorch, goal=dense_goal))
    if DENSE.name in by_label and rivals:
        figures.append(time_ratio("dense / fastest peer", by_label[DENSE.name], rivals))
    for label, goal in ((PRUNED.name, pruned_goal), (HALF.name, pruned_goal), (SPARSER.name, None), (TRAINED, None)):
        if label in by_label and rivals:
            name = label.removeprefix("clprune, ")
            figures.append(time_ratio(f"{name} / fastest peer", by_label[label], rivals, goal=goal))
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


def say(text: str) -> None:
    """Progress on stderr."""
    click.echo(text, err=True)

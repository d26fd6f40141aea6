"""The section of a run in the results: everything that was measured, and the goals beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bench.contest import Outcome, Row, contest_table
from tools.bench.figures import Figure, time_ratio
from tools.bench.machine import device_text
from tools.bench.models import cut_texts
from tools.bench.peers.contestants import BEST_DOMAINS, DENSE, FASTEST_DENSE, HALF, PRUNED, RIVALS, TRAINED
from tools.bench.prepare import Prepared
from tools.bench.report import figure_table, make_section

#: Rows whose times are set against the fastest rival's.
COMPARED = (DENSE.name, FASTEST_DENSE.name, PRUNED.name, HALF.name, TRAINED, *(one.name for one in BEST_DOMAINS))


def section_of(
    prepared: Prepared,
    outcome: Outcome,
    figures: Sequence[Figure],
    *,
    threads: int,
    rounds: int,
    seed: int,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything about one run, as JSON can hold it; `notes` come before its tables."""
    device = "none" if prepared.device is None else device_text(prepared.device)
    batch, source = prepared.entry.batch, prepared.weights_source
    units = {name: cut_texts(cfg) for name, cfg in prepared.files.items()}
    section = make_section(
        ["numpy", "onnx", "pyopencl"],
        text=f"OpenCL device: {device}. {threads} threads, {rounds} rounds in turns. Weights: {source}; images: noise, "
        f"seed {seed}.",
        parts=[
            *notes,
            contest_table(outcome.rows, batch=batch),
            figure_table(figures),
            *(f"{label} was not timed: {reason}." for label, reason in outcome.failures.items()),
        ],
        figures=figures,
        device=device,
        batch=batch,
        threads=threads,
        rounds=rounds,
        seed=seed,
        weights=source,
        units={name: cuts for name, cuts in units.items() if cuts},
        rows=[row.to_dict() for row in outcome.rows],
        failures=outcome.failures,
    )
    engines = {row.engine: str(row.description["version"]) for row in outcome.rows}
    return {**section, "versions": engines | section["versions"]}


def goal_figures(rows: Sequence[Row], goals: Mapping[str, float]) -> list[Figure]:
    """The ratios of the rows that there are, beside the `goals` of `tools.bench.peers.goals`. Dense direct convolution
    is compared with the best of PyTorch as well.
    """
    by_label = {row.label: row.series for row in rows}
    pytorch = [row.series for row in rows if row.engine == "pytorch"]
    rivals = [row.series for row in rows if row.engine in RIVALS]
    figures = []
    if DENSE.name in by_label and pytorch:
        figures.append(time_ratio("dense, direct / best of PyTorch", by_label[DENSE.name], pytorch))
    for label in COMPARED:
        if label in by_label and rivals:
            name = f"{label.removeprefix('clprune, ')} / fastest peer"
            figures.append(time_ratio(name, by_label[label], rivals, goal=goals.get(label)))
    deepsparse = [row.series for row in rows if row.engine == "deepsparse"]
    if FASTEST_DENSE.name in by_label and deepsparse:
        figures.append(time_ratio("dense / DeepSparse", by_label[FASTEST_DENSE.name], deepsparse))
    return figures

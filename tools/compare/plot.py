"""Accuracy against measured time as one SVG file: a curve per variant, spreads over seeds, and the Pareto front."""

from __future__ import annotations

import io
from collections.abc import Sequence

from clprune.errors import MissingDependencyError, UsageError
from tools.compare.curves import front
from tools.compare.results import Point

#: By method; others are black.
COLOURS = {
    "filter": "#d62728",
    "block": "#ff7f0e",
    "balanced": "#bcbd22",
    "nm": "#8c564b",
    "unstructured": "#7f7f7f",
    "wavefront": "#1f77b4",
    "workgroup": "#17becf",
    "bcbp": "#2ca02c",
    "mixed": "#9467bd",
}


def plot(points: Sequence[Point], *, title: str) -> str:
    """The drawing of all points that have a time. Raises UsageError where none has, MissingDependencyError."""
    measured = [point for point in points if "time_ratio" in point.times]
    if not measured:
        raise UsageError("no times to plot: expected at least one variant that was measured")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"matplotlib cannot be imported ({error}): pip install -e .[research]") from error

    groups: dict[str, list[Point]] = {}
    for point in sorted(measured, key=lambda point: point.sparsity):
        groups.setdefault(point.variant, []).append(point)
    dense = (measured[0].dense_accuracy, 1.0)
    edge = front([*((point.accuracy.mean, point.times["time_ratio"]) for point in measured), dense])
    figure = Figure(figsize=(9.6, 6), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [time for _, time in edge],
        [100 * accuracy for accuracy, _ in edge],
        color="black", alpha=0.13, linewidth=7, label="Pareto front",
    )  # fmt: skip
    for name, group in groups.items():
        colour, is_permuted = COLOURS.get(group[0].method, "black"), group[0].permute
        axes.errorbar(
            [point.times["time_ratio"] for point in group],
            [100 * point.accuracy.mean for point in group],
            yerr=[100 * point.accuracy.deviation for point in group],
            color=colour, fmt="o--" if is_permuted else "o-", mfc="white" if is_permuted else colour, label=name,
        )  # fmt: skip
    axes.plot(dense[1], 100 * dense[0], "o", color="black", markersize=9, label="dense")
    axes.set(title=title, xscale="log", xlabel="time over the dense network's (logarithmic)", ylabel="accuracy, %")
    axes.grid(which="both", alpha=0.3)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    figure.legend(loc="outside right upper")
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "clprune"}):  # the same text each time
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().decode()

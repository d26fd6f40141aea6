"""The page of a comparison of codings: a table over all seeds, and how it was made."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.bench.report import make_section, table_of
from tools.compare.codings import CODINGS, PRUNED, Coded
from tools.compare.journal import Row

HEADING = """
# Accuracy in fewer bits

Written by `tools/compare/quantization.py`. Points are percentage points below the dense network, which all runs start
from; "as coded" is before retraining for the codes. Best and worst are of the seeds. Sizes are those of the packed
container, all layers; float32 is 4 bytes for each weight of the dense network. Goals are about the held-out images that
all comparisons share; "on others" are the points below dense on more images, composed anew from the same held-out
originals: on few images, half a point is not far from the standard error of an accuracy.
"""

COLUMNS = (
    "weights", "seeds", "epochs", "as coded", "retrained", "worst", "best", "points below dense", "on others", "goal",
    "met", "kept", "kB",
)  # fmt: skip


def coded_section(rows: Sequence[Row], *, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was measured, and the table of it. `options` are those of the command line that decide it."""
    seeds, count = (len({row[name] for row in rows}) for name in ("seed", "pruned_seed"))
    networks = f"{count} networks" if count > 1 else "One network"
    held_out = next(row["held_out"] for row in rows if "held_out" in row)
    return make_section(
        ["clprune", "numpy", "torch"],
        text=f"{100 * options['sparsity']:g} % of the weights of all layers but the first removed one by one, shares "
        f"of layers by Erdos-Renyi. {networks} pruned and retrained, then {seeds} seeds of retraining for the codes. "
        f"{options['steps']} steps of pruning, {options['step_epochs']} epochs after each and {options['epochs']} "
        f"after the last, of {options['images']} images{_distillation_text(rows, options)}; epochs for each coding are "
        f"in the table; {held_out} held-out images{_others_text(rows)}.",
        parts=[table_of(COLUMNS, coded_table(rows))],
        options=dict(options),
        rows=list(rows),
    )


def coded_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A row of text for the dense network and for each form, over its seeds."""
    pruned = [row for row in rows if row["name"] == PRUNED]
    dense = statistics.fmean(row["dense_accuracy"] for row in pruned)
    size = statistics.fmean(row["float32_bytes"] for row in pruned)
    unknown = ("-",) * 6
    cells: list[tuple[str, ...]] = [
        ("dense float32", "-", "-", "-", _percent(dense), *unknown, "100.0 %", _kilobytes(size))
    ]
    forms: dict[str, Coded | None] = {PRUNED: None, **{coded.name: coded for coded in CODINGS}}
    for name, coded in forms.items():
        of_name = [row for row in rows if row["name"] == name]
        if of_name:
            cells.append((f"pruned, {name}", *_form_cells(of_name, coded, dense=dense)))
    return cells


def _form_cells(rows: Sequence[Row], coded: Coded | None, *, dense: float) -> tuple[str, ...]:
    """All but the name of a form with these rows, None for the one that is not coded."""
    accuracies = [row["accuracy"] for row in rows]
    points = 100 * (dense - statistics.fmean(accuracies))
    goal = None if coded is None else coded.goal_points
    return (
        str(len(rows)),
        "-" if coded is None else str(coded.epochs),
        "-" if coded is None else _mean_of(rows, "accuracy_as_coded", _percent),
        _percent(statistics.fmean(accuracies)),
        _percent(min(accuracies)),
        _percent(max(accuracies)),
        f"{points:.2f}",
        _points_on_others(rows),
        "-" if goal is None else f"<= {goal:g}",
        "-" if goal is None else "yes" if points <= goal else "no",
        _mean_of(rows, "kept_share", _percent),
        _mean_of(rows, "size_bytes", _kilobytes),
    )


def _mean_of(rows: Sequence[Row], name: str, show: Callable[[float], str]) -> str:
    """The mean of those rows that have it."""
    return show(statistics.fmean(row[name] for row in rows if name in row))


def _points_on_others(rows: Sequence[Row]) -> str:
    """Mean points below dense on other images."""
    points = [100 * (row["other_dense_accuracy"] - row["other_accuracy"]) for row in rows if "other_accuracy" in row]
    return f"{statistics.fmean(points):.2f}" if points else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _kilobytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e3:.0f}"


def _others_text(rows: Sequence[Row]) -> str:
    """How much is behind the two columns of points."""
    row = next((row for row in rows if "other_accuracy" in row and "held_out" in row), None)
    if row is None:
        return ""
    errors = [
        100 * math.sqrt(share * (1 - share) / count)
        for share, count in (
            (row["dense_accuracy"], row["held_out"]),
            (row["other_dense_accuracy"], row["other_images"]),
        )
    ]
    return (
        f" (standard error of the dense network's accuracy {errors[0]:.2f} points), {row['other_images']} others "
        f"(dense {_percent(row['other_dense_accuracy'])}, standard error {errors[1]:.2f} points)"
    )


def _distillation_text(rows: Sequence[Row], options: Mapping[str, Any]) -> str:
    """How much was learned from the dense network's answers."""
    share, epochs = options["distillation"], options["distilled_epochs"]
    if not share:
        return " by their labels"
    before = [row["accuracy_by_labels"] for row in rows if "accuracy_by_labels" in row]
    return (
        f" by their labels (accuracy then {_percent(statistics.fmean(before))}); {epochs} more, and all epochs for "
        f"codes, with {100 * share:g} % of the loss from the dense network's answers (temperature "
        f"{options['temperature']:g}) and dropout times {options['distilled_dropout']:g}"
    )

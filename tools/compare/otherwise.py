"""What was tried beside a comparison: runs of other settings, their accuracies beside those of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clprune.errors import UsageError
from tools.bench.report import markdown_table
from tools.compare.frame import RUNS
from tools.compare.journal import Row, read_rows
from tools.compare.results import Point, points

COLUMNS = ("setting", "variant", "removed", "epochs of images", "dense %", "accuracy %", "seeds", "above, accuracy %")


def other_runs(texts: Sequence[str]) -> dict[str, list[Row]]:
    """What `--also` names, each TEXT=FOLDER: text -> the runs in that folder of work. Raises UsageError."""
    found = {}
    for text in texts:
        setting, separator, folder = text.partition("=")
        rows = read_rows(Path(folder) / RUNS) if separator else []
        if not rows:
            raise UsageError(f"--also {text!r}: expected TEXT=FOLDER with a folder that has a {RUNS}")
        found[setting] = rows
    return found


def otherwise_table(table: Sequence[Point], otherwise: Mapping[str, Sequence[Row]]) -> str:
    """Accuracies of `otherwise` (what is different -> its runs) beside those of the same variant and share above."""
    known = {(point.variant, point.sparsity): point.accuracy.text(scale=100) for point in table}
    lines = []
    for setting, runs in otherwise.items():
        recipe = f"{runs[0]['epochs']} of {runs[0]['images']}"
        dense = f"{100 * runs[0]['dense_accuracy']:.2f}"
        for point in sorted(points(runs, []), key=lambda point: point.sparsity):
            before = known.get((point.variant, point.sparsity), "")
            removed, accuracy = f"{100 * point.sparsity:g} %", point.accuracy
            text, seeds = accuracy.text(scale=100), str(accuracy.count)
            lines.append((setting, point.variant, removed, recipe, dense, text, seeds, before))
    return markdown_table(COLUMNS, lines, left=2)

"""The Markdown file of a comparison in the Winograd domain: goals, a table of all points, what abwsp chose and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.bench.report import markdown_table
from tools.compare.choices import Kept
from tools.compare.journal import Row
from tools.compare.otherwise import otherwise_table
from tools.compare.page import making, point_table, removed, timing_text, whole_page
from tools.compare.results import Point, points
from tools.compare.variants import Variant

HEADING = """
# Pruning in the Winograd domain compared

Written by `tools/compare/winograd.py`. One dense network, its 3x3 convolutions but the first pruned in the Winograd
domain by `wsp` (one threshold over a layer), `bwsp` (the same ratio in every matrix and row block) and `abwsp` (one of
both for each layer), retrained alike; accuracy on held-out images, which decided nothing, and time on one device, all
networks of a share in turns.
"""

READING = """
- *Kept* is the share of all convolutions' weights, the dense first one's included.
- All seeds start from the same dense weights, and masks follow from these alone: a seed moves the order of images and
  dropout in retraining; ± is the standard deviation over seeds. Times are the same for all seeds of a method.
- *Of dense* compares with the dense network by the fastest algorithms that were measured for it, *of direct* with the
  dense network by direct convolution alone; medians over rounds of the ratios within a round.
- *Imbalance* is the kept columns of a layer's fullest list over the mean, weighed by the layers' work.
- `abwsp` chose on training images: each variant's loss with that layer alone pruned and batch normalization's
  statistics estimated anew, and its milliseconds on the device.
"""

CHOICE_COLUMNS = ("removed", "layer", "variant", "wsp ms", "bwsp ms", "wsp loss", "bwsp loss", "reason")

#: What abwsp may take of bwsp's time: the goal.
MOST_TIME = 1.1


def winograd_page(
    runs: Sequence[Row], times: Sequence[Row], choices: Kept, *, otherwise: Mapping[str, Sequence[Row]] | None = None
) -> str:
    """The whole file; `otherwise` are runs of other settings, by what is different. Raises UsageError without runs."""
    table = points(runs, times)
    parts = ["## Goals", _goals(table)]
    parts += ["## Every method", point_table(table, times, first="method", with_dense=True)]
    if choices:
        parts += ["## What abwsp chose", markdown_table(CHOICE_COLUMNS, _choice_rows(choices))]
    if otherwise:
        parts += ["## Tried otherwise", otherwise_table(table, otherwise)]
    made = making(runs, by=f", {_loss_text(runs[0])}", timing=timing_text(times))
    return whole_page(HEADING, parts, reading=READING, made=made)


def _goals(table: Sequence[Point]) -> str:
    """Whether abwsp is at least as accurate as bwsp, and not much slower; whether balance pays."""
    rows: list[tuple[str, ...]] = []
    by_method = {(Variant.parse(point.variant).method, point.sparsity): point for point in table}
    for sparsity in sorted({point.sparsity for point in table}):
        found = {method: by_method.get((method, sparsity)) for method in ("wsp", "bwsp", "abwsp")}
        share = removed(sparsity)
        wsp, bwsp, abwsp = found["wsp"], found["bwsp"], found["abwsp"]
        if abwsp is not None and bwsp is not None:
            gain = abwsp.accuracy.mean - bwsp.accuracy.mean
            rows.append(("abwsp at least as accurate as bwsp", share, f"{100 * gain:+.2f} points", _word(gain >= 0)))
            rows += _time_goal("abwsp's time of bwsp's, at most 1.1", share, abwsp, bwsp, most=MOST_TIME)
        if wsp is not None and bwsp is not None:
            rows += _time_goal("bwsp faster than wsp: its time of wsp's", share, bwsp, wsp, most=1.0)
    return markdown_table(("goal", "removed", "found", "verdict"), rows)


def _time_goal(goal: str, share: str, one: Point, other: Point, *, most: float) -> list[tuple[str, ...]]:
    """Convolutions' times; nothing where they were not measured."""
    if "conv_time_ratio" not in one.times or "conv_time_ratio" not in other.times:
        return []
    ratio = one.times["conv_time_ratio"] / other.times["conv_time_ratio"]
    return [(goal, share, f"{ratio:.3f}", _word(ratio <= most))]


def _word(holds: bool) -> str:
    return "holds" if holds else "**does not hold**"


def _choice_rows(choices: Kept) -> list[tuple[str, ...]]:
    return [
        (
            removed(float(share)),
            str(choice["layer"]),
            str(choice["variant"]),
            *(f"{choice[variant]['time_ms']:.4f}" for variant in ("wsp", "bwsp")),
            *(f"{choice[variant]['loss']:.4f}" for variant in ("wsp", "bwsp")),
            str(choice["reason"]),
        )
        for share, of_share in sorted(choices.items(), key=lambda item: float(item[0]))
        for choice in of_share
    ]


def _loss_text(row: Row) -> str:
    """What retraining learned from; rows from before there was distillation say nothing of it."""
    share = row.get("distillation", 0)
    source = "from the labels alone"
    if share:
        source = f"{100 * share:g} % of the loss from the dense network's answers (temperature {row['temperature']:g})"
    return f"{source}, dropout times {row.get('dropout_strength', 1):g}"

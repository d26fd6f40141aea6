"""The Markdown file of the comparison of methods: claims and verdicts, and all points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.bench.report import markdown_table
from tools.compare.claims import GOAL_SPARSITY, Verdict, all_verdicts
from tools.compare.journal import Row
from tools.compare.otherwise import otherwise_table
from tools.compare.page import making, point_table, removed, timing_text, whole_page
from tools.compare.results import points
from tools.compare.variants import Variant

HEADING = """
# Pruning methods compared

{about}Written by `tools/compare/methods.py`. One dense network, pruned by every method and retrained alike; accuracy on
held-out images, which decided nothing, and time on one device, the dense network beside all others in every round.
`{stem}.csv` beside this file has a row per run.

![Accuracy against measured time]({stem}.svg)
"""

READING = """
- *Removed* is the share of the convolutions' weights (the first one stays dense, connected layers too). Filter pruning
  counts filters: it removed so many of them that the same share of weights went; a layer between two pruned ones keeps
  the square of its share of filters.
- All seeds start from the same dense weights, and masks follow from these alone: a seed moves the order of images and
  dropout in retraining. Differences between variants are taken seed by seed; ± is the standard deviation over seeds.
- Times are the same for all seeds of a variant, whose masks are the same: one network of each was measured. Ratios are
  medians over rounds of the network's time over the dense one's in the same round. *Direct* compares with the dense
  network by direct convolution alone, where the planner runs it by a faster algorithm.
- On a CPU one SIMD group computes a work-group's rows, so that `wavefront` and `workgroup` have the same unit there:
  here they are told apart by their units. `bcbp` has the unit of `wavefront`, which is the same without balance.
- Where a table's algorithms are `direct,sparse`, every network runs by kernels that skip what was removed, the dense
  one by direct convolution: that compares ways of pruning. With Winograd convolution offered as well, the dense
  network gets faster, and networks that kept much may run by it too, zeros and all: that compares what the device can
  do at its best.
- Of repeated measurements the calmest counts: the one in which the dense network's convolutions took least.
- *Imbalance* is the kept columns of a layer's fullest row block over the mean, weighed by the layers' work.
"""


def comparison_page(
    runs: Sequence[Row],
    times: Sequence[Row],
    *,
    stem: str = "methods",
    about: str = "",
    others: Sequence[Sequence[Row]] = (),
    otherwise: Mapping[str, Sequence[Row]] | None = None,
) -> str:
    """The whole file, of `runs` and their `times`, beside files of the same `stem`; `about` says what was compared on.

    `others` are times with other algorithms to choose from, `otherwise` runs of other settings, by what is different.
    Raises UsageError without runs.
    """
    table = points(runs, times)
    parts = ["## Claims", _verdict_table(all_verdicts(table))]
    parts += ["## Every variant", point_table(table, times, first="variant"), *_layer_parts(times)]
    for rows in others:
        title = f"## The same networks, algorithms {rows[0]['algorithms']}"
        found = points(runs, rows)
        lines = [line for line in all_verdicts(found) if line.is_of_time]
        measured = point_table(found, rows, first="variant")
        parts += [title, _timing_text(rows), _verdict_table(lines), measured, *_layer_parts(rows)]
    if otherwise:
        parts += ["## Tried otherwise", otherwise_table(table, otherwise)]
    dates = sorted({row["date"] for row in runs})
    made = making(runs, when=f", {dates[0]} to {dates[-1]}", timing=_timing_text(times))
    heading = HEADING.format(stem=stem, about=about and f"{about}\n\n")
    return whole_page(heading, parts, reading=READING, made=made)


def _layer_parts(times: Sequence[Row]) -> list[str]:
    """What the column methods take of each layer's time at the share that has a goal; nothing where unmeasured."""
    rows = [
        row
        for row in times
        if row["sparsity"] == GOAL_SPARSITY
        and row.get("direct_layer_time_ratios")
        and Variant.parse(str(row["variant"])).is_column_method
    ]
    if not rows:
        return []
    layers = list(rows[0]["direct_layer_time_ratios"])
    lines = [
        (str(row["variant"]), *(f"{row['direct_layer_time_ratios'][layer]:.3f}" for layer in layers)) for row in rows
    ]
    text = (
        f"Each convolution at {removed(GOAL_SPARSITY)} by its layer's number, over the same one of the dense network "
        f"by direct convolution. Layer {layers[0]} stays dense."
    )
    return [text, markdown_table(("variant", *layers), lines, left=1)]


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    words = {True: "holds", False: "**does not hold**", None: "no goal"}
    rows = [(one.claim, one.subject, one.found, words[one.holds]) for one in verdicts]
    return markdown_table(("claim", "of", "found, by the share removed", "verdict"), rows, left=4)


def _timing_text(times: Sequence[Row]) -> str:
    if not times:
        return ""
    names = ("dense_time_ms", "dense_conv_time_ms", "direct_conv_time_ms")
    dense_ms, conv_ms, direct_ms = (min(row[name] for row in times) for name in names)
    dense = f"; dense {dense_ms:.2f} ms, its convolutions {conv_ms:.2f} ms, by direct convolution {direct_ms:.2f} ms"
    return timing_text(times, dense=dense)

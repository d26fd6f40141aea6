"""The Markdown file of a comparison in the Winograd domain: goals, a table of all points, what abwsp chose and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.bench.machine import circumstances
from tools.bench.report import machine_text, markdown_table
from tools.compare.choices import Kept
from tools.compare.journal import Row
from tools.compare.otherwise import otherwise_table
from tools.compare.results import Point, Spread, points
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

POINT_COLUMNS = (
    "method", "removed", "kept", "accuracy %", "seeds", "time ms", "of dense", "convolutions ms", "of dense",
    "of direct", "imbalance", "algorithms",
)  # fmt: skip

CHOICE_COLUMNS = ("removed", "layer", "variant", "wsp ms", "bwsp ms", "wsp loss", "bwsp loss", "reason")

#: What abwsp may take of bwsp's time: the goal.
MOST_TIME = 1.1


def winograd_page(
    runs: Sequence[Row],
    times: Sequence[Row],
    choices: Kept,
    *,
    otherwise: Mapping[str, Sequence[Row]] | None = None,
) -> str:
    """The whole file; `otherwise` are runs of other settings, by what is different. Raises UsageError without runs."""
    table = points(runs, times)
    algorithms = {(row["variant"], row["sparsity"]): str(row["algorithms_used"]) for row in times}
    parts = [HEADING.strip(), "## Goals", _goals(table)]
    parts += ["## Every method", markdown_table(POINT_COLUMNS, [_dense_row(table), *_rows(table, algorithms)])]
    if choices:
        parts += ["## What abwsp chose", markdown_table(CHOICE_COLUMNS, _choice_rows(choices))]
    if otherwise:
        parts += ["## Tried otherwise", otherwise_table(table, otherwise)]
    parts += ["## How to read it", READING.strip(), "## How it was made", _circumstances(runs, times)]
    return "\n\n".join(parts) + "\n"


def _goals(table: Sequence[Point]) -> str:
    """Whether abwsp is at least as accurate as bwsp, and not much slower; whether balance pays."""
    rows: list[tuple[str, ...]] = []
    by_method = {(Variant.parse(point.variant).method, point.sparsity): point for point in table}
    for sparsity in sorted({point.sparsity for point in table}):
        found = {method: by_method.get((method, sparsity)) for method in ("wsp", "bwsp", "abwsp")}
        removed = f"{100 * sparsity:g} %"
        wsp, bwsp, abwsp = found["wsp"], found["bwsp"], found["abwsp"]
        if abwsp is not None and bwsp is not None:
            gain = abwsp.accuracy.mean - bwsp.accuracy.mean
            rows.append(("abwsp at least as accurate as bwsp", removed, f"{100 * gain:+.2f} points", _word(gain >= 0)))
            rows += _time_goal("abwsp's time of bwsp's, at most 1.1", removed, abwsp, bwsp, most=MOST_TIME)
        if wsp is not None and bwsp is not None:
            rows += _time_goal("bwsp faster than wsp: its time of wsp's", removed, bwsp, wsp, most=1.0)
    return markdown_table(("goal", "removed", "found", "verdict"), rows)


def _time_goal(goal: str, removed: str, one: Point, other: Point, *, most: float) -> list[tuple[str, ...]]:
    """Convolutions' times; nothing where they were not measured."""
    if "conv_time_ratio" not in one.times or "conv_time_ratio" not in other.times:
        return []
    ratio = one.times["conv_time_ratio"] / other.times["conv_time_ratio"]
    return [(goal, removed, f"{ratio:.3f}", _word(ratio <= most))]


def _word(holds: bool) -> str:
    return "holds" if holds else "**does not hold**"


def _dense_row(table: Sequence[Point]) -> tuple[str, ...]:
    first = table[0]
    timed = next((point.times for point in table if point.times), {})
    direct = ""
    if "direct_conv_time_ms" in timed:
        direct = _cell(timed["dense_conv_time_ms"] / timed["direct_conv_time_ms"])
    whole, convolutions = (_cell(timed.get(name)) for name in ("dense_time_ms", "dense_conv_time_ms"))
    accuracy = f"{100 * first.dense_accuracy:.2f}"
    return ("dense", "0 %", "100.0 %", accuracy, "1", whole, "1.000", convolutions, "1.000", direct, "", "")


def _rows(table: Sequence[Point], algorithms: dict[tuple[str, float], str]) -> list[tuple[str, ...]]:
    return [
        (
            point.variant,
            f"{100 * point.sparsity:g} %",
            f"{100 * point.kept_share:.1f} %",
            point.accuracy.text(scale=100),
            str(point.accuracy.count),
            *(
                _cell(point.times.get(name))
                for name in ("time_ms", "time_ratio", "conv_time_ms", "conv_time_ratio", "direct_conv_time_ratio")
            ),
            f"{point.times['imbalance']:.2f}" if "imbalance" in point.times else "",
            algorithms.get((point.variant, point.sparsity), ""),
        )
        for point in sorted(table, key=lambda point: point.sparsity)
    ]


def _choice_rows(choices: Kept) -> list[tuple[str, ...]]:
    return [
        (
            f"{100 * float(share):g} %",
            str(choice["layer"]),
            str(choice["variant"]),
            *(f"{choice[variant]['time_ms']:.4f}" for variant in ("wsp", "bwsp")),
            *(f"{choice[variant]['loss']:.4f}" for variant in ("wsp", "bwsp")),
            str(choice["reason"]),
        )
        for share, of_share in sorted(choices.items(), key=lambda item: float(item[0]))
        for choice in of_share
    ]


def _circumstances(runs: Sequence[Row], times: Sequence[Row]) -> str:
    first = runs[0]
    seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in runs}))
    lines = [
        machine_text(circumstances(["clprune", "numpy", "pyopencl", "torch"])),
        f"Dense accuracy {100 * first['dense_accuracy']:.2f} % of {first['held_out']} held-out images. Retraining: "
        f"{first['epochs']} epochs of {first['images']} images, {_loss_text(first)}, seeds {seeds}, "
        f"{Spread.of(row['train_s'] for row in runs).mean:.0f} s a run on average.",
    ]
    if times:
        last = times[-1]
        lines.append(
            f"OpenCL device: {last['device']}; batch {last['batch']}, {last['rounds']} rounds, algorithms to choose "
            f"from: {last['algorithms']}; measured {last['date']}."
        )
    return "\n\n".join(lines)


def _loss_text(row: Row) -> str:
    """What retraining learned from; rows from before there was distillation say nothing of it."""
    share = row.get("distillation", 0)
    source = "from the labels alone"
    if share:
        source = f"{100 * share:g} % of the loss from the dense network's answers (temperature {row['temperature']:g})"
    return f"{source}, dropout times {row.get('dropout_strength', 1):g}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

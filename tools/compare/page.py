"""What the Markdown files of comparisons share: the table of all points, how they were made, and the order of parts."""

from __future__ import annotations

from collections.abc import Sequence

from tools.bench.machine import circumstances
from tools.bench.report import machine_text, markdown_table
from tools.compare.journal import Row
from tools.compare.results import Point, Spread

POINT_COLUMNS = (
    "removed", "kept", "accuracy %", "seeds", "time ms", "of dense", "convolutions ms", "of dense", "of direct",
    "imbalance", "algorithms",
)  # fmt: skip
TIMES = ("time_ms", "time_ratio", "conv_time_ms", "conv_time_ratio", "direct_conv_time_ratio")


def whole_page(heading: str, parts: Sequence[str], *, reading: str, made: str) -> str:
    """A file's text from its parts."""
    ending = ("## How to read it", reading.strip(), "## How it was made", made)
    return "\n\n".join([heading.strip(), *parts, *ending]) + "\n"


def point_table(table: Sequence[Point], times: Sequence[Row], *, first: str, with_dense: bool = False) -> str:
    """All points by the share removed; `first` is the name of the first column."""
    algorithms = {(row["variant"], row["sparsity"]): str(row["algorithms_used"]) for row in times}
    rows = [
        (
            point.variant,
            removed(point.sparsity),
            f"{100 * point.kept_share:.1f} %",
            point.accuracy.text(scale=100),
            str(point.accuracy.count),
            *(_cell(point.times.get(name)) for name in TIMES),
            f"{point.times['imbalance']:.2f}" if "imbalance" in point.times else "",
            algorithms.get((point.variant, point.sparsity), ""),
        )
        for point in sorted(table, key=lambda point: point.sparsity)
    ]
    return markdown_table((first, *POINT_COLUMNS), [*([_dense_row(table)] if with_dense else []), *rows])


def removed(sparsity: float) -> str:
    """A share of removed weights, such as `87.5 %`."""
    return f"{100 * sparsity:g} %"


def making(runs: Sequence[Row], *, by: str = "", when: str = "", timing: str = "") -> str:
    """How it was made: the machine, the retraining (`by` which loss, and `when`), and what was timed."""
    first = runs[0]
    seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in runs}))
    text = (
        f"Dense accuracy {100 * first['dense_accuracy']:.2f} % of {first['held_out']} held-out images. Retraining: "
        f"{first['epochs']} epochs of {first['images']} images{by}, seeds {seeds}{when}, "
        f"{Spread.of(row['train_s'] for row in runs).mean:.0f} s a run on average."
    )
    lines = [machine_text(circumstances(["clprune", "numpy", "pyopencl", "torch"])), text, timing]
    return "\n\n".join(line for line in lines if line)


def timing_text(times: Sequence[Row], *, dense: str = "") -> str:
    """How `times` were measured, empty for none; `dense` says what the dense network took."""
    if not times:
        return ""
    last = times[-1]
    return (
        f"OpenCL device: {last['device']}; batch {last['batch']}, {last['rounds']} rounds, algorithms to choose from: "
        f"{last['algorithms']}{dense}; measured {last['date']}."
    )


def _dense_row(table: Sequence[Point]) -> tuple[str, ...]:
    timed = next((point.times for point in table if point.times), {})
    direct = ""
    if "direct_conv_time_ms" in timed:
        direct = _cell(timed["dense_conv_time_ms"] / timed["direct_conv_time_ms"])
    whole, convolutions = (_cell(timed.get(name)) for name in ("dense_time_ms", "dense_conv_time_ms"))
    accuracy = f"{100 * table[0].dense_accuracy:.2f}"
    return ("dense", "0 %", "100.0 %", accuracy, "1", whole, "1.000", convolutions, "1.000", direct, "", "")


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

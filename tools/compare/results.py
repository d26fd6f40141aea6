"""Rows of both stages put together: a table with a row per run, and points of accuracy and time."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clprune.errors import UsageError
from tools.compare.journal import Row

RUN_COLUMNS = (
    "variant", "method", "permute", "sparsity", "method_sparsity", "seed", "unit", "kept_share", "accuracy",
    "dense_accuracy", "held_out", "images", "epochs",
)  # fmt: skip
TIME_COLUMNS = (
    "time_ms", "time_median_ms", "dense_time_ms", "dense_time_median_ms", "time_ratio", "conv_time_ms",
    "dense_conv_time_ms", "conv_time_ratio", "direct_conv_time_ms", "direct_conv_time_ratio", "imbalance",
    "groups_per_unit", "algorithms_used", "batch", "rounds", "device",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation (of a sample; 0 for one value) of `count` values."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """That of `values`. Raises UsageError for none."""
        known = list(values)
        if not known:
            raise UsageError("no values: expected at least one")
        deviation = statistics.stdev(known) if len(known) > 1 else 0.0
        return cls(mean=statistics.fmean(known), deviation=deviation, count=len(known))

    def text(self, *, scale: float = 1.0, digits: int = 2) -> str:
        """Such as `91.20 ± 0.31`."""
        return f"{scale * self.mean:.{digits}f} ± {scale * self.deviation:.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A variant at one share: the accuracies of its seeds, and its times, empty where it was not measured.

    `sparsity` is the share of weights to be removed, `method_sparsity` what the method was asked for (filter pruning
    counts filters). `times` holds the values of `TIME_COLUMNS`; ratios are of the dense network's time.
    """

    variant: str
    method: str
    permute: bool
    sparsity: float
    method_sparsity: float
    kept_share: float
    accuracies: Mapping[int, float]
    dense_accuracy: float
    times: Mapping[str, float]

    @property
    def accuracy(self) -> Spread:
        """Over the seeds."""
        return Spread.of(self.accuracies.values())


def points(runs: Sequence[Row], times: Sequence[Row]) -> list[Point]:
    """One point for each variant and share of `runs`, in their order, with its row of `times`."""
    measured = {(row["variant"], row["sparsity"]): row for row in times}
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in runs:
        groups.setdefault((row["variant"], row["sparsity"]), []).append(row)
    return [
        Point(
            variant=variant,
            method=rows[0]["method"],
            permute=rows[0]["permute"],
            sparsity=sparsity,
            method_sparsity=rows[0]["method_sparsity"],
            kept_share=statistics.fmean(row["kept_share"] for row in rows),
            accuracies={row["seed"]: row["accuracy"] for row in rows},
            dense_accuracy=rows[0]["dense_accuracy"],
            times={
                name: value
                for name, value in measured.get((variant, sparsity), {}).items()
                if name in TIME_COLUMNS and isinstance(value, int | float)
            },
        )
        for (variant, sparsity), rows in groups.items()
    ]


def latest_times(times: Sequence[Row]) -> list[Row]:
    """The rows that were measured as the last one was: on its device, with its batch, algorithms and kernels.

    Of a network that was measured more than once the calmest row counts: the one beside which the dense network's
    convolutions took least.
    """
    if not times:
        return []
    last = times[-1]
    same = ("device", "batch", "algorithms", "kernels")
    return _calmest(row for row in times if all(row.get(name) == last.get(name) for name in same))


def other_times(times: Sequence[Row]) -> list[list[Row]]:
    """The rows of the last one's device, batch and kernels with other algorithms to choose from, by their names."""
    if not times:
        return []
    last = times[-1]
    groups: dict[str, list[Row]] = {}
    for row in times:
        is_alike = all(row.get(name) == last.get(name) for name in ("device", "batch", "kernels"))
        if is_alike and row["algorithms"] != last["algorithms"]:
            groups.setdefault(row["algorithms"], []).append(row)
    return [_calmest(groups[name]) for name in sorted(groups)]


def _calmest(times: Iterable[Row]) -> list[Row]:
    best: dict[tuple[str, float], Row] = {}
    for row in times:
        key = (row["variant"], row["sparsity"])
        if key not in best or row["dense_conv_time_median_ms"] < best[key]["dense_conv_time_median_ms"]:
            best[key] = row
    return list(best.values())


def results_csv(runs: Sequence[Row], times: Sequence[Row]) -> str:
    """A row per run, with the times of its variant and share."""
    measured = {(row["variant"], row["sparsity"]): row for row in times}
    columns = [*RUN_COLUMNS, *TIME_COLUMNS, "date_trained", "date_measured"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in runs:
        timed = measured.get((row["variant"], row["sparsity"]), {})
        values = {name: row[name] for name in RUN_COLUMNS} | {name: timed.get(name, "") for name in TIME_COLUMNS}
        values |= {"date_trained": row["date"], "date_measured": timed.get("date", "")}
        writer.writerow({name: _cell(value) for name, value in values.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value

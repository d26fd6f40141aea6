"""The figures of several networks side by side, and their means: made from the sections that a results file has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tools.bench.figures import Figure
from tools.bench.machine import cpu_class, this_machine
from tools.bench.peers.contestants import BEST_DOMAINS, FASTEST_DENSE
from tools.bench.peers.goals import MEAN
from tools.bench.report import Section, figure_table, full_title, make_section, table_of

#: Networks with goals of their own, which the mean is not over.
APART = ("vgg16", "vgg16-digits")

NAMES = tuple(f"{one.name.removeprefix('clprune, ')} / fastest peer" for one in (FASTEST_DENSE, BEST_DOMAINS[0]))


def mean_section(sections: Mapping[str, Section], platform: str) -> dict[str, Any] | None:
    """Networks in batches of one on a platform and this kind of processor; None where there is none but vgg16.

    Ratios are averaged geometrically, over the networks that have them.
    """
    machine = this_machine()
    end = full_title(f", batch 1, {platform}", machine)
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for title, section in sections.items():
        network = title.split(",")[0]
        figures = {figure["name"]: figure for figure in section["figures"] if figure["name"] in NAMES}
        if title.endswith(end) and network not in APART and figures:
            found[network] = figures
    if not found:
        return None
    rows = [
        (
            network,
            *(f"{one[name][which]:.3g}" if name in one else "-" for name in NAMES for which in ("best", "median")),
        )
        for network, one in found.items()
    ]
    means = [
        Figure(
            name=f"{name}, mean of {len(ratios)}",
            best=_mean([ratio["best"] for ratio in ratios]),
            median=_mean([ratio["median"] for ratio in ratios]),
            goal=goal,
        )
        for name, goal in zip(NAMES, MEAN.get(cpu_class(machine["features"]), (None, None)), strict=True)
        if (ratios := [one[name] for one in found.values() if name in one])
    ]
    columns = ("network", *(f"{name}, {which}" for name in NAMES for which in ("best runs", "medians")))
    text = "Of the sections of this page, each one run of its own; geometric means."
    return make_section([], text=text, parts=[table_of(columns, rows), figure_table(means)], figures=means)


def _mean(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))

"""How near one problem is to another: what a tile tuned for one is worth on the other."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping

#: Filter size, stride and groups change how a kernel runs, not only how long: they weigh more.
_WEIGHTS: Mapping[str, float] = {"size": 2.0, "stride": 2.0, "groups": 2.0, "padding": 0.5}

#: Whether a tile's rows divide the unit decides what it can skip.
_UNIT_WEIGHT = 2.0

#: Something fused into one problem and not into the other.
_WORD_WEIGHT = 1.0

_FIELD = re.compile(r"([a-z]+)(\d*)")
_DENSE_SHARE = 1.0


@functools.lru_cache(maxsize=4096)
def problem_fields(key: str) -> dict[str, int]:
    """The dimensions in a problem's key: `"n1 k4096 m1000"` -> `{"n": 1, "k": 4096, "m": 1000}`; words get -1."""
    return {name: int(value or -1) for name, value in _FIELD.findall(key)}


def shape_distance(one: str, other: str) -> float:
    """Sum over the dimensions of two problem keys of |log2 of their ratio|, weighted; infinite for different kinds."""
    fields, others = problem_fields(one), problem_fields(other)
    distance = 0.0
    for name in fields.keys() | others.keys():
        value, other_value = fields.get(name), others.get(name)
        if value is None or other_value is None:
            distance += _WORD_WEIGHT if -1 in (value, other_value) else math.inf
        elif value >= 0 and other_value >= 0:
            distance += _WEIGHTS.get(name, 1.0) * abs(math.log2((value + 1) / (other_value + 1)))
    return distance


def workload_distance(*, kept_share: float, unit_rows: int, other_kept_share: float, other_unit_rows: int) -> float:
    """The same for what was removed: the kept shares' ratio, and the units' where both have removed something."""
    distance = abs(math.log2(max(kept_share, 0.01) / max(other_kept_share, 0.01)))
    if kept_share < _DENSE_SHARE and other_kept_share < _DENSE_SHARE:
        distance += _UNIT_WEIGHT * abs(math.log2(unit_rows / other_unit_rows))
    elif kept_share != other_kept_share:
        distance += 1.0
    return distance

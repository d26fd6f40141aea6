"""How near one problem is to another: what a tile tuned for one is worth on the other."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping

from clprune.kernels.workload import Workload

#: Dimensions of problems and what a doubling weighs. Filter size, stride and groups change how a kernel runs, not only
#: for how long.
_WEIGHTS: Mapping[str, float] = {
    **dict.fromkeys(("n", "c", "h", "w", "m", "k"), 1.0),
    **dict.fromkeys(("size", "stride", "groups"), 2.0),
    "padding": 0.5,
}

#: Whether a tile's rows divide the unit decides what it can skip.
_UNIT_WEIGHT = 2.0

#: Something that only one problem has: fused pooling, another storage.
_WORD_WEIGHT = 1.0

_FIELD = re.compile(r"\b([a-z]+)(\d{1,15})\b", re.ASCII)  # what has more digits is no dimension
_DENSE_SHARE = 1.0


@functools.lru_cache(maxsize=4096)
def problem_fields(key: str) -> dict[str, int]:
    """The dimensions in a problem's key: `"n1 k4096 m1000 float16"` -> `{"n": 1, "k": 4096, "m": 1000}`."""
    return {name: int(value) for name, value in _FIELD.findall(key) if name in _WEIGHTS}


@functools.lru_cache(maxsize=65536)
def problem_work(key: str) -> float:
    """A measure of the multiplications of a problem, to compare it with others of its kind by."""
    fields = problem_fields(key)
    product = math.prod(fields.get(name, 1) for name in ("n", "c", "h", "w", "m", "k", "size", "size"))
    return product / (fields.get("stride", 1) ** 2 * fields.get("groups", 1)) or 1.0


@functools.lru_cache(maxsize=65536)
def shape_distance(one: str, other: str) -> float:
    """Sum over the dimensions of two problem keys of |log2 of their ratio|, weighted; infinite for different kinds."""
    fields, others = problem_fields(one), problem_fields(other)
    if fields.keys() != others.keys():
        return math.inf
    distance = sum(_WEIGHTS[name] * abs(math.log2((value + 1) / (others[name] + 1))) for name, value in fields.items())
    return distance + _WORD_WEIGHT * len(_words(one) ^ _words(other))


@functools.lru_cache(maxsize=4096)
def _words(key: str) -> frozenset[str]:
    """What a key says beside dimensions."""
    return frozenset(word for word in key.split() if not ((match := _FIELD.fullmatch(word)) and match[1] in _WEIGHTS))


def workload_distance(one: Workload, other: Workload) -> float:
    """The same for what was removed: the kept shares' ratio, and the units' where both have removed something."""
    distance = abs(math.log2(max(one.kept_share, 0.01) / max(other.kept_share, 0.01)))
    if one.kept_share < _DENSE_SHARE and other.kept_share < _DENSE_SHARE:
        distance += _UNIT_WEIGHT * abs(math.log2(one.unit_rows / other.unit_rows))
    elif one.kept_share != other.kept_share:
        distance += 1.0
    return distance

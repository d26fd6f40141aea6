"""How near one problem is to another: what a tile tuned for one is worth on the other."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

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

#: Who keeps less counts as keeping so much; what keeps less than the other has removed something.
_LEAST_SHARE, _DENSE_SHARE = 0.01, 1.0


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


class Neighbours:
    """Problems, each with what was removed from its weights, whose distances to another one are computed at once."""

    def __init__(self, problems: Sequence[str], *, kept_shares: Sequence[float], units: Sequence[int]) -> None:
        """`units` are rows; the sequences are as long as each other."""
        self._shares = np.asarray(kept_shares, np.float64)
        self._units = np.asarray(units, np.float64)
        kinds: dict[tuple[str, ...], list[int]] = {}
        kept_words: dict[frozenset[str], int] = {}
        parts = [_parts(key) for key in problems]
        for number, (names, _, words) in enumerate(parts):
            kinds.setdefault(names, []).append(number)
            kept_words.setdefault(words, len(kept_words))
        self._kinds = {
            names: (np.asarray(numbers), np.asarray([parts[number][1] for number in numbers], np.float64))
            for names, numbers in kinds.items()
        }
        self._words = tuple(kept_words)
        self._words_of = np.asarray([kept_words[words] for _, _, words in parts], np.intp)

    def distances(self, problem: str, workload: Workload) -> npt.NDArray[np.float64]:
        """`[problems]`: that of their shape, and that of what was removed; infinite for problems of another kind."""
        return self.of_shape(problem) + self.of_workload(workload)

    def of_shape(self, problem: str) -> npt.NDArray[np.float64]:
        """`[problems]`: sums over the dimensions of |log2 of their ratio|, weighted."""
        names, sizes, words = _parts(problem)
        distances = np.full(len(self._words_of), np.inf)
        if names in self._kinds:
            numbers, others = self._kinds[names]
            weights = np.asarray([_WEIGHTS[name] for name in names])
            foreign = np.asarray([len(words ^ kept) for kept in self._words])
            distances[numbers] = np.abs(others - np.asarray(sizes)) @ weights
            distances[numbers] += _WORD_WEIGHT * foreign[self._words_of[numbers]]
        return distances

    def of_workload(self, workload: Workload) -> npt.NDArray[np.float64]:
        """`[problems]`: the same for the kept shares' ratio, and the units' where both have removed something."""
        shares, here = np.maximum(self._shares, _LEAST_SHARE), max(workload.kept_share, _LEAST_SHARE)
        of_units = _UNIT_WEIGHT * np.abs(np.log2(self._units / workload.unit_rows))
        both_pruned = (self._shares < _DENSE_SHARE) & (workload.kept_share < _DENSE_SHARE)
        is_other = self._shares != workload.kept_share
        return np.abs(np.log2(shares / here)) + np.where(both_pruned, of_units, 1.0 * is_other)


def shape_distance(one: str, other: str) -> float:
    """How far two problems' shapes are from each other; infinite for different kinds."""
    return float(Neighbours([other], kept_shares=[1.0], units=[1]).of_shape(one)[0])


def workload_distance(one: Workload, other: Workload) -> float:
    """The same for what was removed."""
    return float(Neighbours([""], kept_shares=[other.kept_share], units=[other.unit_rows]).of_workload(one)[0])


@functools.lru_cache(maxsize=65536)
def _parts(key: str) -> tuple[tuple[str, ...], tuple[float, ...], frozenset[str]]:
    """The names of a problem's dimensions, in order, how often they double from 1 on, and its words beside them."""
    fields = sorted(problem_fields(key).items())
    names, sizes = (tuple(column) for column in zip(*fields, strict=True)) if fields else ((), ())
    return names, tuple(math.log2(size + 1) for size in sizes), _words(key)


def _words(key: str) -> frozenset[str]:
    return frozenset(word for word in key.split() if not ((match := _FIELD.fullmatch(word)) and match[1] in _WEIGHTS))

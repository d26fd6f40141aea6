"""Kernel Tuner's simulations with the same choices in less time: what it computes anew in every repeat, or slowly.

Replaced while a search is simulated: a space's files, its configurations and their neighbours are found once; values
are not written into a log that nobody reads, nor searched in steps made anew; hybrid_vndx finds the nearest of its
history, and bayes_opt what a configuration promises, with NumPy. As the CPU's time of a search counts, what is quicker
is to that search's advantage.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

Configuration = tuple[Any, ...]
Array = npt.NDArray[np.float64]
Predictions = Sequence[tuple[float, float]]


@contextlib.contextmanager
def fast_simulation() -> Iterator[None]:
    """Kernel Tuner's slow parts are replaced inside. Not for tuning on a device: files are not read again."""
    from kernel_tuner import interface, util
    from kernel_tuner.searchspace import Searchspace
    from kernel_tuner.strategies import common
    from kernel_tuner.strategies.bayes_opt import BayesianOptimization
    from kernel_tuner.strategies.gen_hybrid_vndx import HybridVNDX

    replaced = [
        (util, "read_cache", _last_kept(util.read_cache)),
        (interface, "get_input_file", _last_kept(interface.get_input_file)),
        (Searchspace, "get_neighbors_indices_no_cache", _neighbours_kept(Searchspace.get_neighbors_indices_no_cache)),
        (common, "unscale_and_snap_to_nearest", _snap),
        (HybridVNDX, "knn_predict", _knn_predict),
        (BayesianOptimization, "af_expected_improvement", _expected_improvement),
        (BayesianOptimization, "af_probability_of_improvement", _probability_of_improvement),
        (BayesianOptimization, "af_lower_confidence_bound", _lower_confidence_bound),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, function in replaced:
            stack.enter_context(mock.patch.object(owner, name, function))
        stack.enter_context(mock.patch.object(common, "str", _short_text, create=True))
        yield


@functools.cache
def _last_kept(function: Any) -> Any:
    """The function with its last result remembered: searches on one space follow one another."""
    return functools.lru_cache(maxsize=1)(function)


@functools.cache
def _neighbours_kept(function: Any) -> Any:
    """What a configuration's neighbours are follows from the space, which all its configurations tell apart."""
    known: dict[Any, Any] = {}

    def neighbours(
        self: Any, param_config: Configuration, neighbor_method: str | None = None, build_full_cache: bool = False
    ) -> Any:
        space = vars(self).setdefault("clprune_space", hash(tuple(self.list)))
        key = space, *self.param_names, neighbor_method or self.neighbor_method, param_config
        if key not in known:
            known[key] = function(self, param_config, neighbor_method, build_full_cache)
        return known[key].copy()

    return neighbours


def _short_text(value: Any) -> str:
    """Of an array, which is written into the log only, nothing."""
    return "" if isinstance(value, np.ndarray) else builtins.str(value)


@functools.cache
def _steps(count: int, eps: float) -> Array:
    """Where a parameter's values lie."""
    pad = 0.5 * eps
    return np.linspace(pad, (eps * count) - pad, count)


def _snap(x: Sequence[float], tune_params: Mapping[str, Sequence[Any]], eps: float) -> list[Any]:
    """`common.unscale_and_snap_to_nearest`: the values nearest to a point."""
    return [
        values[int(np.abs(_steps(len(values), eps) - place).argmin())]
        for place, values in zip(x, tune_params.values(), strict=True)
    ]


class _History:
    """What a search has evaluated: values as numbers `[parameters, evaluations]`."""

    def __init__(self, parameters: int) -> None:
        self._numbers: list[dict[Any, int]] = [{} for _ in range(parameters)]
        self._codes = np.empty((parameters, 64), np.int16)
        self._count = 0

    def _code(self, configuration: Configuration) -> list[int]:
        """Numbers that are equal where values are."""
        return [known.setdefault(value, len(known)) for known, value in zip(self._numbers, configuration, strict=True)]

    def nearest(self, configuration: Configuration, history: Sequence[tuple[Configuration, float]], k: int) -> Any:
        """Places in `history` of the `k` with the fewest values that differ, of equal ones the earliest first."""
        while self._count < len(history):
            if self._count == self._codes.shape[1]:
                self._codes = np.concatenate([self._codes, np.empty_like(self._codes)], axis=1)
            self._codes[:, self._count] = self._code(history[self._count][0])
            self._count += 1
        distances = np.zeros(self._count, np.uint8)
        for known, number in zip(self._codes, self._code(configuration), strict=True):
            distances += known[: self._count] != number
        return np.argsort(distances, kind="stable")[:k]


def _knn_predict(self: Any, tpl: Configuration, history: Sequence[tuple[Configuration, float]]) -> float:
    """`HybridVNDX.knn_predict`: the mean result of the nearest that were evaluated."""
    if not hasattr(self, "seen"):
        self.seen = _History(len(tpl))
    top: list[float] = [history[place][1] for place in self.seen.nearest(tpl, history, self.k)]
    return sum(top) / len(top)


def _ratios(self: Any, predictions: Predictions, hyperparam: float) -> tuple[Array, Array, Array]:
    """Improvements over the best that were predicted, their deviations, and one by the other."""
    mean, deviation = np.array(predictions).T
    improvement = (self.current_optimum - hyperparam) - mean
    return improvement, deviation, improvement / (deviation + 1e-9)


def _expected_improvement(self: Any, predictions: Predictions, hyperparam: float) -> Any:
    from scipy.stats import norm

    improvement, deviation, ratio = _ratios(self, predictions, hyperparam)
    return -(improvement * norm.cdf(ratio) + deviation * norm.pdf(ratio))


def _probability_of_improvement(self: Any, predictions: Predictions, hyperparam: float) -> Any:
    from scipy.stats import norm

    return norm.cdf(-_ratios(self, predictions, hyperparam)[2])


def _lower_confidence_bound(self: Any, predictions: Predictions, hyperparam: float) -> Any:
    mean, deviation = np.array(predictions).T
    return mean - hyperparam * deviation

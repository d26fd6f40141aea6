"""The benchmark hub's own scoring: `autotuning_methodology` on what searches did in simulated time.

A search's curve over time is the best time seen, by isotonic regression over all repeats; it is compared with the curve
that random search is calculated to have: 0 is as good as that, 1 is the best of the space at once. A space is looked at
from where random search has come 1 % to where it has come 95 % of the way from the median to the best, in simulated
seconds: building, checking, running, and the CPU's time for search and Kernel Tuner themselves. The score is the mean.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tools.search.hub_space import TIME_KEYS, HubSpace, Try

START, END = 0.01, 0.95  # cut-off percentiles, as in the package's defaults, like what follows
_MARGIN = 0.1  # of time beyond the end
_RESOLUTION = 10_000  # points in time
_CONFIDENCE = 0.95

#: What a try that failed has as its time.
_FAILED_MS = 1e20


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What one space's searches are measured with."""

    space: HubSpace

    @cached_property
    def statistics(self) -> Any:
        """The package's `SearchspaceStatistics`."""
        os.environ.setdefault("MPLBACKEND", "Agg")  # the package draws too
        from autotuning_methodology.searchspace_statistics import SearchspaceStatistics

        return SearchspaceStatistics(
            application_name=self.space.kernel,
            device_name=self.space.device,
            minimization=True,
            objective_time_keys=list(TIME_KEYS),
            objective_performance_keys=["time"],
            full_search_space_file_path=self.space.recording_path,
            full_validate=False,
        )

    @cached_property
    def cutoff(self) -> tuple[int, float, float]:
        """Evaluations that random search needs to the end; simulated seconds to the start and to the end."""
        _, evaluations, start, end = self.statistics.cutoff_point_fevals_time_start_end(START, END)
        return int(evaluations), float(start), float(end)

    @property
    def budget_seconds(self) -> float:
        """What a search may take."""
        return self.cutoff[2] * (1 + _MARGIN)

    @cached_property
    def _baseline(self) -> Any:
        from autotuning_methodology.baseline import RandomSearchCalculatedBaseline

        return RandomSearchCalculatedBaseline(self.statistics)

    def score(self, runs: Sequence[Sequence[Try]], *, name: str) -> float:
        """Of one strategy's runs."""
        from autotuning_methodology.caching import ResultsDescription
        from autotuning_methodology.curves import StochasticOptimizationAlgorithm
        from autotuning_methodology.report_experiments import get_strategies_aggregated_performance
        from autotuning_methodology.runner import write_results

        _, start, end = self.cutoff
        seconds = np.linspace(start, end, _RESOLUTION)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            description = ResultsDescription(
                run_folder=Path(folder),
                application_name=self.space.kernel,
                device_name=self.space.device,
                group_name=name,
                group_display_name=name,
                stochastic=True,
                objective_time_keys=list(TIME_KEYS),
                objective_performance_keys=["time"],
                minimization=True,
            )
            write_results([[_result(one) for one in run] for run in runs], description)
            description.group_display_name = name  # writing drops it
            curves = [StochasticOptimizationAlgorithm(description)]
            data = (self._baseline, curves, self.statistics, seconds, None)
            performances, *_ = get_strategies_aggregated_performance([data], _CONFIDENCE)
        return float(np.mean(performances[0]))


def _result(one: Try) -> dict[str, Any]:
    """A try as T4 has it."""
    seconds, time_ms = one
    value = _FAILED_MS if time_ms is None else time_ms
    return {
        "times": dict(zip(TIME_KEYS, seconds, strict=True)),
        "invalidity": "runtime" if time_ms is None else "correct",
        "measurements": [{"name": "time", "value": value}],
    }

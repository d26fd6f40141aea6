"""Recorded spaces of the FAIR benchmark hub for auto-tuning, and Kernel Tuner's simulation of a search on one.

The hub (github.com/AutoTuningAssociation/benchmark_hub) has, for a kernel on a device, every configuration with its
time and with what trying it took: `kernels/NAME.json` (T1) says which configurations there are,
`cachefiles/NAME/DEVICE.json.gz` is Kernel Tuner's own cache and `DEVICE_T4.json.gz` the same as T4, which the hub's
scoring reads. Whatever searches is run by Kernel Tuner on the same simulated device and budget; to it, clprune's search
is a strategy of the user's own.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from clprune.errors import DataError
from clprune.files import write_atomically
from clprune.json_input import read_json
from clprune.tuning.model_search import ModelSearch
from tools.search.hub_fast import fast_simulation
from tools.search.recording import tile_type

KERNELS = {"convolution": "convolution_milo", "dedispersion": "dedispersion_milo"}
DEVICES = ("A100", "A4000", "A6000", "MI250X", "W6600", "W7800")

#: Strategies that end after 100 evaluations unless they are told otherwise: how many they may make. The time that one
#: of bayes_opt takes grows with the square of their number and more.
EVALUATIONS = {
    **dict.fromkeys(("mls", "greedy_mls", "ordered_greedy_mls", "greedy_ils"), 1_000_000),
    "bayes_opt": 500,
}

#: What clprune's search is called among Kernel Tuner's strategies.
OWN = "clprune"

#: What trying a configuration takes, in the words of T4.
TIME_KEYS = ("compilation", "runtimes", "framework", "search_algorithm", "validation")

#: The same where Kernel Tuner has a result, in milliseconds.
_TIMES = ("compile_time", "times", "framework_time", "strategy_time", "verification_time")

#: Runs of a kernel per configuration in the hub's recordings.
_RUNS = 32

#: Entries of a configuration in Kernel Tuner's cache that a simulation needs, beside its parameters.
_COSTS = ("time", "compile_time", "verification_time", "benchmark_time", "framework_time", "strategy_time")


@dataclass(frozen=True, kw_only=True)
class HubSpace:
    """One kernel on one device; its files lie unpacked in `folder`."""

    kernel: str
    device: str
    folder: Path

    @property
    def name(self) -> str:
        """As in reports."""
        return f"{self.kernel} {self.device}"

    @property
    def input_path(self) -> Path:
        """The T1 file."""
        return self.folder / f"{self.kernel}.json"

    @property
    def cache_path(self) -> Path:
        """Kernel Tuner's cache, as short as a simulation can do with."""
        return self.folder / f"{self.kernel}-{self.device}.json"

    @property
    def recording_path(self) -> Path:
        """The T4 file."""
        return self.folder / f"{self.kernel}-{self.device}-T4.json"


def unpack(hub: Path, folder: Path) -> list[HubSpace]:
    """The twelve spaces from a copy of the hub. Raises DataError for a file that is missing or not whole."""
    spaces = []
    folder.mkdir(parents=True, exist_ok=True)
    for kernel, name in KERNELS.items():
        for device in DEVICES:
            space = HubSpace(kernel=kernel, device=device, folder=folder.resolve())
            if not space.recording_path.exists():
                _write_input(hub / "kernels" / f"{name}.json", space, hub=hub)
                recordings = hub / "cachefiles" / name
                write_atomically(space.cache_path, json.dumps(_short(_unpacked(recordings / f"{device}.json.gz"))))
                write_atomically(space.recording_path, json.dumps(_unpacked(recordings / f"{device}_T4.json.gz")))
            spaces.append(space)
    return spaces


def _unpacked(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"expected a recorded space of benchmark_hub ({error}); clone it with its large files", path=path
        ) from error
    return content


def _short(cache: dict[str, Any]) -> dict[str, Any]:
    """Without what makes the file large: a configuration's runs are replaced by their sum, which is all that counts."""
    names = (*cache["tune_params_keys"], *_COSTS)
    entries = {}
    for key, entry in cache["cache"].items():
        entries[key] = {name: entry[name] for name in names} | {"times": [sum(entry.get("times", ()))]}
    return {**cache, "cache": entries}


def _write_input(path: Path, space: HubSpace, *, hub: Path) -> None:
    """The T1 file for a simulation: its arguments, which nothing is computed with, have one element each."""
    document = read_json(path, error=DataError)
    specification = document["KernelSpecification"]
    specification["KernelFile"] = str((path.parent / specification["KernelFile"]).resolve())
    specification["Device"] = {"Name": space.device}
    for argument in specification["Arguments"]:
        argument["Size"] = 1
    write_atomically(space.input_path, json.dumps(document))


#: One try: seconds for each of TIME_KEYS, and the milliseconds of the configuration, None where it failed.
Try = tuple[tuple[float, ...], float | None]


def simulate(space: HubSpace, strategy: str, *, seed: int, seconds: float) -> list[Try]:
    """What one search tries that may take so many simulated seconds, in order.

    The time that search and Kernel Tuner themselves take, which counts, too, is that of the CPU: what else the machine
    is busy with is no fault of theirs.
    """
    from kernel_tuner import interface

    limit = {"max_fevals": EVALUATIONS[strategy]} if strategy in EVALUATIONS else {}
    chosen = OwnStrategy(seed=seed) if strategy == OWN else strategy
    if strategy != OWN:
        assert interface.strategy_map[strategy].tune  # its module is loaded, which is no part of a search
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- what Kernel Tuner draws from
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        _time_of_the_cpu(interface),
        fast_simulation(),
    ):
        warnings.simplefilter("ignore")
        results, _environment = interface.tune_kernel_T1(
            space.input_path,
            cache_filepath=space.cache_path,
            simulation_mode=True,
            output_T4=False,
            iterations=_RUNS,
            strategy=chosen,
            strategy_options={"time_limit": seconds} | limit,
        )
    return [_try(result) for result in results]


@contextlib.contextmanager
def _time_of_the_cpu(interface: Any) -> Iterator[None]:
    """What Kernel Tuner takes for the clock of the wall."""
    with (
        mock.patch.object(time, "perf_counter_ns", time.process_time_ns),
        mock.patch.object(interface, "perf_counter", time.process_time),
    ):
        yield


def _try(result: Mapping[str, Any]) -> Try:
    milliseconds = [sum(result.get("times", ())) if name == "times" else result[name] for name in _TIMES]
    return tuple(round(ms / 1e3, 6) for ms in milliseconds), None if "__error__" in result else result["time"]


@dataclass(frozen=True, kw_only=True)
class OwnStrategy:
    """clprune's search where Kernel Tuner expects a strategy: no starting tiles, nothing known beforehand."""

    seed: int

    def tune(self, searchspace: Any, runner: Any, tuning_options: Any) -> list[dict[str, Any]]:
        """Ask and tell until the budget is spent or the space is."""
        from kernel_tuner.strategies.common import CostFunc
        from kernel_tuner.util import StopCriterionReached

        evaluate = CostFunc(searchspace, tuning_options, runner)
        parameters: Mapping[str, Any] = searchspace.tune_params
        make_tile = tile_type({name: values[0] for name, values in parameters.items()})
        configurations = {make_tile(**dict(zip(parameters, one, strict=True))): one for one in searchspace.list}
        search = ModelSearch(list(configurations), parameters=parameters, seed=self.seed)
        with contextlib.suppress(StopCriterionReached):
            while (tile := search.ask()) is not None:
                evaluate(configurations[tile], check_restrictions=False)
                result = evaluate.results[-1]
                search.tell(tile, None if "__error__" in result else result["time"])
        results: list[dict[str, Any]] = evaluate.results
        return results

"""Compare clprune's search with Kernel Tuner's strategies on recorded spaces, without any device.

    pip install -r tools/search/requirements.txt
    python -m tools.search.compare [--seeds N] [--strategy NAME ...] [--out FILE.md]

Each search may evaluate a tenth of a space. The figure is the time of the best tile it has seen over the time of the
space's best tile: geometric mean over recordings and seeds. Kernel Tuner runs in its simulation mode, which reads the
same recordings; its strategies have their default options.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from clprune.errors import MissingDependencyError
from clprune.files import write_atomically
from clprune.kernels.conv import ConvTile
from clprune.tiles.distance import shape_distance, workload_distance
from clprune.tuning.model_search import ModelSearch, Similar
from clprune.tuning.transfer import starts_from, workload_of
from tools import ROOT
from tools.bench.machine import package_versions
from tools.bench.report import markdown_table
from tools.search.local_search import LocalSearch
from tools.search.recording import Recording, Search, read_recordings, replay
from tools.terminal import counter, options, run_command, say

RECORDINGS = ROOT / "tests" / "data" / "recordings"
SHARES = (0.025, 0.05, 0.1)  # of the space: where the searches are compared
BATCH = 4  # tiles that clprune asks for at once, as with two worker processes
GOAL = 1.01
KERNEL_TUNER = ("random_sample", "simulated_annealing", "genetic_algorithm", "bayes_opt")

#: (recording, all recordings, evaluations, seed) -> best slowdown after each evaluation.
Course = Callable[[Recording, Sequence[Recording], int, int], list[float]]


def model_search(
    recording: Recording, seed: int, *, starts: Sequence[Any] = (), similar: Sequence[Similar] = ()
) -> Search:
    """clprune's own search. With the device type's own tiles as `starts` this is a first `clprune tune`."""
    space, parameters = list(recording.times_ms), recording.parameters
    return ModelSearch(space, parameters=parameters, starts=starts, similar=similar, seed=seed)


def with_transfer(recording: Recording, recordings: Sequence[Recording], seed: int) -> Search:
    """The same when the other recordings' first tenths (at random) are in the database."""
    names = recording.parameters.keys()
    others = [other for other in recordings if other is not recording and other.parameters.keys() == names]
    similar = [_similar(recording, other, seed=seed) for other in others]
    tiles = {_values(tile): tile for tile in recording.times_ms}
    best = [tiles[_values(tile)] for tile in starts_from(similar) if _values(tile) in tiles]
    return model_search(recording, seed, starts=(*recording.starts[:1], *best), similar=similar)


def hill_climbing(recording: Recording, _: Sequence[Recording], seed: int) -> Search:
    """With restarts, from the device type's own tiles: what clprune did before."""
    space, parameters = list(recording.times_ms), recording.parameters
    return LocalSearch(space, parameters=parameters, starts=recording.starts, seed=seed)


def _similar(recording: Recording, other: Recording, *, seed: int) -> Similar:
    """A tenth of another recording, at the distance that a database would find."""
    tiles = list(other.times_ms)
    known = random.Random(seed).sample(tiles, len(tiles) // 10)
    here, there = recording.key, other.key
    distance = shape_distance(here.problem, there.problem)
    distance += workload_distance(workload_of(here.workload), workload_of(there.workload))
    return Similar(times_ms={tile: other.times_ms[tile] for tile in known}, distance=distance)


def _values(tile: Any) -> tuple[Any, ...]:
    return tuple(vars(tile).values())


def kernel_tuner(strategy: str) -> Course:
    """One of Kernel Tuner's strategies, in its simulation mode. Raises MissingDependencyError."""
    try:
        from kernel_tuner import tune_cache
    except ImportError as error:
        raise MissingDependencyError(
            f"Kernel Tuner is not installed ({error}): pip install -r tools/search/requirements.txt, or --strategy"
        ) from error

    def course(recording: Recording, _: Sequence[Recording], evaluations: int, seed: int) -> list[float]:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 -- what Kernel Tuner draws from
        parameters = {name: list(values) for name, values in recording.parameters.items() if len(values) > 1}
        known = {_key(tile, parameters): tile for tile in recording.times_ms}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            cache = Path(folder) / "cache.json"
            cache.write_text(json.dumps(_cache(recording, parameters)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn's, about its own numerics
                results, _env = tune_cache(
                    str(cache), strategy=strategy, strategy_options={"max_fevals": evaluations}, quiet=True
                )
        seen = dict.fromkeys(",".join(str(result[name]) for name in parameters) for result in results)
        slowdowns = [recording.slowdown(known[key]) for key in seen if key in known]
        return list(itertools.accumulate(slowdowns[:evaluations], min))

    return course


def _key(tile: Any, parameters: dict[str, Any]) -> str:
    return ",".join(str(getattr(tile, name)) for name in parameters)


def _cache(recording: Recording, parameters: dict[str, Any]) -> dict[str, Any]:
    """A recording as Kernel Tuner's cache file."""
    entries = {}
    for tile, time_ms in recording.times_ms.items():
        failure = "RuntimeFailedConfig"
        outcome = {"time": time_ms} if time_ms is not None else {"time": failure, "__error__": failure}
        entries[_key(tile, parameters)] = {name: getattr(tile, name) for name in parameters} | outcome
    return {
        "device_name": recording.device_name,
        "kernel_name": recording.key.kernel,
        "problem_size": 1,
        "tune_params_keys": list(parameters),
        "tune_params": parameters,
        "objective": "time",
        "cache": entries,
    }


#: Name -> (what makes it from a recording, all recordings and a seed; tiles that it is asked for at once).
OURS: Mapping[str, tuple[Callable[[Recording, Sequence[Recording], int], Search], int]] = {
    "clprune": (lambda recording, _, seed: model_search(recording, seed, starts=recording.starts), BATCH),
    "clprune, similar problems known": (with_transfer, BATCH),
    "clprune, no starting tiles": (lambda recording, _, seed: model_search(recording, seed), BATCH),
    "clprune's hill climbing": (hill_climbing, 1),
}


def own_course(name: str) -> Course:
    """One of OURS, replayed."""
    make, batch = OURS[name]

    def course(recording: Recording, recordings: Sequence[Recording], evaluations: int, seed: int) -> list[float]:
        search = make(recording, recordings, seed)
        return replay(recording, lambda: search, evaluations=evaluations, batch=batch)

    return course


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy's slowdowns at each of SHARES: geometric means over everything, the worst run, and per recording."""

    strategy: str
    means: tuple[float, ...]
    worst: float
    per_recording: tuple[float, ...]
    seconds: float


def compare(strategy: str, course: Course, recordings: Sequence[Recording], *, seeds: int, tick: Any) -> Row:
    """Run one strategy on every recording with every seed."""
    start = time.process_time()
    logs: list[list[float]] = [[] for _ in SHARES]
    per_recording, worst = [], 1.0
    for recording in recordings:
        evaluations = int(SHARES[-1] * len(recording.times_ms))
        finals = []
        for seed in range(seeds):
            slowdowns = course(recording, recordings, evaluations, seed)
            for place, share in enumerate(SHARES):
                reached = slowdowns[: max(1, int(share * len(recording.times_ms)))]
                logs[place].append(math.log(reached[-1]))
            finals.append(math.log(slowdowns[-1]))
            worst = max(worst, slowdowns[-1])
            tick()
        per_recording.append(math.exp(statistics.fmean(finals)))
    return Row(
        strategy=strategy,
        means=tuple(math.exp(statistics.fmean(values)) for values in logs),
        worst=worst,
        per_recording=tuple(per_recording),
        seconds=(time.process_time() - start) / (len(recordings) * seeds),
    )


def report(rows: Sequence[Row], recordings: Sequence[Recording], *, seeds: int) -> str:
    """The result as Markdown."""
    spaces = []
    for recording in recordings:
        times = sorted(time_ms for time_ms in recording.times_ms.values() if time_ms is not None)
        spaces.append(
            (
                f"{recording.name} ({recording.key.problem}, {recording.key.workload})",
                _count(recording),
                f"{times[0]:.4f}",
                f"{statistics.median(times) / times[0]:.1f}",
                f"{times[-1] / times[0]:.0f}",
                recording.device_name,
            )
        )
    shares = [f"after {100 * share:g} %" for share in SHARES]
    results = [
        (row.strategy, *(f"{mean:.3f}" for mean in (*row.means, row.worst, *row.per_recording)), f"{row.seconds:.2f}")
        for row in rows
    ]
    parts = [
        "# Search: clprune and Kernel Tuner on recorded spaces",
        f"`python -m tools.search.compare --seeds {seeds}`; Python {sys.version.split()[0]}, NumPy {np.__version__}, "
        f"Kernel Tuner {_tuner_version()}. No device is used: the times were recorded by `tools/search/record.py`, "
        f"{_recorded_before(recordings)}: the fastest of several runs, of tiles that look good in two passes or more, "
        "on a machine with other work beside. Of large spaces a sample by chance was recorded.",
        markdown_table(("recording", "tiles", "best ms", "median / best", "worst / best", "device"), spaces),
        f"Time of the best tile seen / time of the space's best tile after that share of the space has been evaluated: "
        f"geometric means over {len(recordings)} recordings and {seeds} seeds. The last columns are for "
        f"{100 * SHARES[-1]:g} %. The goal for clprune is at most {GOAL}.",
        markdown_table(
            ("strategy", *shares, "worst run", *(recording.name for recording in recordings), "CPU s per run"), results
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _count(recording: Recording) -> str:
    """How many tiles there are, and of how many."""
    count = len(recording.times_ms)
    return str(count) if count == recording.size else f"{count} of {recording.size}"


def _recorded_before(recordings: Sequence[Recording]) -> str:
    """Whether tiles have got parameters since."""
    today = {field.name for field in dataclasses.fields(ConvTile)}
    newer = sorted(today - set.intersection(*(set(recording.parameters) for recording in recordings)))
    return f"before tiles had {', '.join(newer)}" if newer else "with all parameters that tiles have today"


def figures(rows: Sequence[Row], recordings: Sequence[Recording], *, seeds: int) -> dict[str, Any]:
    """The same for programs."""
    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "kernel_tuner": _tuner_version(),
        "seeds": seeds,
        "shares": SHARES,
        "recordings": [
            {"name": recording.name, **dataclasses.asdict(recording.key), "tiles": len(recording.times_ms)}
            for recording in recordings
        ],
        "strategies": [dataclasses.asdict(row) for row in rows],
    }


def _tuner_version() -> str:
    return package_versions(["kernel_tuner"]).get("kernel_tuner", "not installed")


@click.command()
@options(
    seeds=20,
    chosen={"flag": "--strategy", "multiple": True, "help": "Only these [default: clprune's, Kernel Tuner's four]."},
    recordings=RECORDINGS,
    out={"help": "Write the table there too, and the figures as JSON."},
)
def main(seeds: int, chosen: tuple[str, ...], recordings: Path, out: Path | None) -> None:
    """Print the table."""
    spaces = read_recordings(recordings)
    names = chosen or (*OURS, *KERNEL_TUNER)
    courses = {name: own_course(name) if name in OURS else kernel_tuner(name) for name in names}
    rows = []
    for name, course in courses.items():
        label = name if name in OURS else f"Kernel Tuner: {name}"
        rows.append(compare(label, course, spaces, seeds=seeds, tick=counter(label, len(spaces) * seeds)))
        say(f"{label}: {', '.join(f'{mean:.3f}' for mean in rows[-1].means)}")
    text = report(rows, spaces, seeds=seeds)
    click.echo(text)
    if out is not None:
        write_atomically(out, text)
        write_atomically(out.with_suffix(".json"), json.dumps(figures(rows, spaces, seeds=seeds), indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)

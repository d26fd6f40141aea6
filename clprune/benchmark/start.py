"""Seconds of a whole command, from the start of its process to its end, with kernel caches empty and warm."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clprune.benchmark.figures import Series
from clprune.errors import WorkerError

#: Folders in which clprune and OpenCL drivers keep built kernels: ours, PoCL's, NVIDIA's, Intel's, Mesa's, and what
#: follows the desktop's rules (pyopencl among them).
CACHE_VARIABLES = (
    "CLPRUNE_CACHE_DIR",
    "POCL_CACHE_DIR",
    "CUDA_CACHE_PATH",
    "NEO_CACHE_DIR",
    "MESA_SHADER_CACHE_DIR",
    "XDG_CACHE_HOME",
)

#: A command that has not ended by then never will.
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class StartTimes:
    """Milliseconds of whole processes."""

    empty: Series
    warm: Series


def time_starts(command: Sequence[str], *, rounds: int, say: Callable[[str], None]) -> StartTimes:
    """Run `command` twice in each of `rounds` rounds: with new cache folders, and again with what the first run left.

    The files of the programs themselves are in the system's memory from a first run that does not count. Raises
    WorkerError when the command fails.
    """
    empty: list[float] = []
    warm: list[float] = []
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory(prefix="clprune-caches-") as folder:
            environment = cache_environment(Path(folder))
            times = [_milliseconds(command, environment) for _ in range(2)]
        if number > 0:
            empty.append(times[0])
            warm.append(times[1])
            say(f"round {number}: {times[0]:.0f} ms with empty caches, {times[1]:.0f} ms with warm ones")
    return StartTimes(empty=Series(samples_ms=tuple(empty)), warm=Series(samples_ms=tuple(warm)))


def cache_environment(folder: Path) -> dict[str, str]:
    """Every cache variable, each with a new folder of its own in `folder`."""
    variables = {}
    for name in CACHE_VARIABLES:
        place = folder / name.lower()
        place.mkdir()
        variables[name] = str(place)
    return variables


def _milliseconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    try:
        result = subprocess.run(
            list(command),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkerError(f"{command[0]}: {error}") from error
    elapsed_ms = (time.perf_counter() - start) * 1e3
    if result.returncode != 0:
        said = [line for line in result.stderr.splitlines() if line.strip()]
        raise WorkerError(f"{' '.join(command)}: {said[-1] if said else f'ended with status {result.returncode}'}")
    return elapsed_ms

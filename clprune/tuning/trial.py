"""What a worker process does with candidates: build, verify, run, time. Nothing here knows about processes.

The work on a candidate has two halves. `prepare` may go on beside other candidates: render, build, pack, upload, run
once, compare with the float64 reference. `time` must have the device for itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clprune.candidate import Candidate, bind_case, compare_outputs
from clprune.errors import BuildError, ConfigurationRejected, LaunchError, TileError, WrongAnswer
from clprune.kernels.arguments import Sample
from clprune.kernels.base import Kernel
from clprune.opencl import Session
from clprune.tiles.records import COMPILE, CONSTRAINTS, CORRECT, CORRECTNESS, RUNTIME
from clprune.tuning.caches import Caches

#: A candidate whose first runs take this much longer than the best so far is not run again.
EARLY_STOP = 1.3

#: A candidate is run until both are reached, but for no longer than MOST_SECONDS or MOST_RUNS.
FEWEST_RUNS, FEWEST_SECONDS = 5, 0.015
MOST_RUNS, MOST_SECONDS = 50, 0.5

#: Slow runs may be accidents of the machine: a thread that wakes up late doubles a short run's time, so that one says
#: nothing. Several do, and so does one that is slower still.
_SLOW_RUNS, _ACCIDENT = 3, 2.5

#: Runs of a candidate that seems slow while others are being built beside it, before it is given up.
_DISTURBED_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One candidate's outcome. `time_ms` is the fastest of `runs_ms`, None where `invalidity` says why there is none.

    `relative_error`: the largest error of its answer relative to the reference's largest magnitude. `detail` is text
    for people: the driver's message, the constraint. `is_alone` is False for a time that was taken while other
    candidates were built: such a candidate was too slow to be worth a second look. `is_lost`: its worker process ended.
    """

    tile: Any
    time_ms: float | None = None
    invalidity: str = CORRECT
    build_ms: float | None = None
    runs_ms: tuple[float, ...] = ()
    relative_error: float | None = None
    detail: str = ""
    is_alone: bool = True
    is_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A candidate that is built, verified and ready to be timed."""

    tile: Any
    build_ms: float
    relative_error: float

    def timed(self, runs_ms: Sequence[float]) -> Trial:
        """The trial that these runs make of it."""
        return Trial(
            tile=self.tile, time_ms=min(runs_ms), build_ms=self.build_ms, runs_ms=tuple(runs_ms),
            relative_error=self.relative_error,
        )  # fmt: skip

    def refused(self, refusal: BuildError | LaunchError) -> Trial:
        """The trial of a candidate that ran before and does so no longer."""
        return Trial(tile=self.tile, invalidity=RUNTIME, build_ms=self.build_ms, detail=_detail(refusal))


class Evaluator:
    """Candidates of one task at a time on an open device."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._caches = Caches(session)
        self._task: tuple[Kernel[Any, Any], Any, Sample] | None = None
        self._ready: dict[Any, tuple[Candidate, Prepared]] = {}

    def set_task(self, kernel: Kernel[Any, Any], operation: Any, sample: Sample) -> None:
        """From now on candidates are tiles of `kernel` for `operation`, checked on `sample`."""
        self._ready.clear()
        self._task = (kernel, operation, sample)

    def prepare(self, tile: Any, hopeless_ms: float | None) -> Prepared | Trial:
        """Build, bind, run and verify `tile`; a Trial is its end, Prepared asks for `time`.

        A right but slow candidate ends here: when several runs take longer than `hopeless_ms`, which allows for the
        other candidates that are being prepared beside it.
        """
        if self._task is None:
            raise ValueError("prepare() before set_task()")
        kernel, operation, sample = self._task
        build_ms = None
        try:
            kernel.tile_of(asdict(tile))
            start = time.perf_counter()
            candidate = bind_case(
                self._session, kernel, tile, operation, kernel.case(tile, operation, sample), keep=False
            )
            build_ms = (time.perf_counter() - start) * 1e3
            first_ms = self._run_ms(candidate)
            error = compare_outputs(self._session, candidate)
            for _ in range(_DISTURBED_RUNS - 1):  # some drivers compile at the first run
                if hopeless_ms is not None and first_ms > hopeless_ms:
                    first_ms = min(first_ms, self._run_ms(candidate))
        except (BuildError, LaunchError, ConfigurationRejected, TileError) as refusal:
            return Trial(tile=tile, invalidity=_invalidity(refusal), build_ms=build_ms, detail=_detail(refusal))
        if hopeless_ms is not None and first_ms > hopeless_ms:
            return Trial(
                tile=tile,
                time_ms=first_ms,
                build_ms=build_ms,
                runs_ms=(first_ms,),
                relative_error=error,
                is_alone=False,
            )
        prepared = Prepared(tile=tile, build_ms=build_ms, relative_error=error)
        self._ready[tile] = (candidate, prepared)
        return prepared

    def time(self, tile: Any, best_ms: float | None) -> Trial:
        """Run a prepared tile until its time is known well enough, or clearly above `best_ms`.

        The first run does not count: after others were built and run, it takes half as long again, or twice.
        """
        candidate, prepared = self._ready[tile]
        runs_ms: list[float] = []
        try:
            self._timed_ms(candidate)
            while _is_undecided(runs_ms, best_ms):
                runs_ms.append(self._timed_ms(candidate))
        except (BuildError, LaunchError) as refusal:
            return prepared.refused(refusal)
        return prepared.timed(runs_ms)

    def run(self, tile: Any) -> float | Trial:
        """Milliseconds of one more run of a prepared tile, of which comparisons in turns are made, or its refusal."""
        candidate, prepared = self._ready[tile]
        try:
            return self._timed_ms(candidate)
        except (BuildError, LaunchError) as refusal:
            return prepared.refused(refusal)

    def keep_only(self, tiles: Iterable[Any]) -> None:
        """Give back the device memory of every other prepared candidate."""
        wanted = set(tiles)
        for tile in [tile for tile in self._ready if tile not in wanted]:
            del self._ready[tile]

    def _timed_ms(self, candidate: Candidate) -> float:
        """One run with caches as in a network."""
        return candidate.bound.timed(before=self._caches.launches(candidate.warm)) * 1e3

    def _run_ms(self, candidate: Candidate) -> float:
        start = time.perf_counter()
        candidate.bound.enqueue()
        self._session.finish()
        return (time.perf_counter() - start) * 1e3


def _is_undecided(runs_ms: list[float], best_ms: float | None) -> bool:
    """Whether a further run would tell more."""
    if not runs_ms:
        return True
    fastest, spent_s = min(runs_ms), sum(runs_ms) / 1e3
    if best_ms is not None and fastest > EARLY_STOP * best_ms:
        return len(runs_ms) < _SLOW_RUNS and fastest <= _ACCIDENT * best_ms
    if len(runs_ms) >= MOST_RUNS or spent_s >= MOST_SECONDS:
        return False
    return len(runs_ms) < FEWEST_RUNS or spent_s < FEWEST_SECONDS


def _invalidity(refusal: BuildError | LaunchError | ConfigurationRejected | TileError) -> str:
    """The T4 word for a refusal."""
    if isinstance(refusal, BuildError):
        return COMPILE
    if isinstance(refusal, LaunchError):
        return RUNTIME
    return CORRECTNESS if isinstance(refusal, WrongAnswer) else CONSTRAINTS


def _detail(refusal: BuildError | LaunchError | ConfigurationRejected | TileError) -> str:
    return str(refusal)[:500]

"""What `dask worker --preload` runs on the workers of a farm under test, and a single run before it tunes.

A problem has so few candidates that every one is tried, whatever the times say: what was tried can be compared. Who
measures says so in a file, for the test to kill it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clprune.tuning.caches
import clprune.tuning.pool
import clprune.tuning.tune
from clprune.kernels.base import Offer
from clprune.tiles.lookup import Lookup
from clprune.tuning.pool import WorkerPool
from clprune.tuning.spaces import Spaces
from clprune.tuning.trial import Trial
from tests import forked
from tests.tuning.first import first_candidates

#: Names the file that processes add a line to, their number, whenever they begin to measure.
MEASURING = "CLPRUNE_TEST_MEASURING"

CANDIDATES = 2

#: The measurement within which a worker is killed.
KILLED = 3

_evaluate = WorkerPool.evaluate


def evaluate(self: WorkerPool, tiles: Sequence[Any], **settings: Any) -> list[Trial]:
    """As ever, but not unheard; the one that is to be killed waits for that."""
    if path := os.environ.get(MEASURING):
        with Path(path).open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        if len(Path(path).read_text(encoding="ascii").split()) == KILLED:
            time.sleep(600)
    return _evaluate(self, tiles, **settings)


class NothingFound(Lookup):
    """What won in a like problem takes part in the last comparison: no tile does for which the times decide that."""

    def __call__(self, offer: Offer) -> tuple[Any, str] | None:
        return None


def dask_setup(worker: object) -> None:
    """Called by Dask in the worker's process; importing this file must change nothing, since the test does so, too."""
    clprune.tuning.pool.available_cores = lambda: 1  # each starts a process for every one
    clprune.tuning.pool._COMMAND, clprune.tuning.caches.EVICTED_BYTES = forked.COMMAND, forked.EVICTED_BYTES
    Spaces.candidates = first_candidates(CANDIDATES)  # type: ignore[method-assign]
    clprune.tuning.tune.Lookup = NothingFound  # type: ignore[misc]
    WorkerPool.evaluate = evaluate  # type: ignore[method-assign]

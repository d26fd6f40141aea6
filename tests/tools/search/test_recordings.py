"""Searches replayed on recorded spaces: what `normal` may cost, and how good its answer must be."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from clprune.tuning.model_search import ModelSearch
from tools.search.recording import Recording, read_recordings, replay

FOLDER = Path(__file__).parents[2] / "data" / "recordings"
SHARE = 0.1  # of the space may be evaluated
SEEDS = 3  # tools.search.compare runs 20
BATCH = 8

RECORDINGS = read_recordings(FOLDER)


def slowdown(recording: Recording, seed: int) -> float:
    """Of the best tile that was seen, over the best of the space."""
    search = ModelSearch(list(recording.times_ms), parameters=recording.parameters, starts=recording.starts, seed=seed)
    return replay(recording, lambda: search, evaluations=int(SHARE * len(recording.times_ms)), batch=BATCH)[-1]


def test_three_layers_were_recorded() -> None:
    assert len(RECORDINGS) == 3
    for recording in RECORDINGS:
        assert len(recording.times_ms) >= 500
        assert all(start in recording.times_ms for start in recording.starts)
        assert sum(time_ms is None for time_ms in recording.times_ms.values()) <= 0.01 * len(recording.times_ms)


def test_a_tenth_of_the_space_is_enough() -> None:
    slowdowns = [slowdown(recording, seed) for recording in RECORDINGS for seed in range(SEEDS)]
    assert statistics.geometric_mean(slowdowns) <= 1.05
    assert max(slowdowns) <= 1.15


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_replay_tells_what_was_recorded(recording: Recording) -> None:
    """A search that knows the best tile is done after one evaluation; one that has seen all tiles stops."""
    best = min(recording.times_ms, key=lambda tile: recording.times_ms[tile] or math.inf)

    class Knowing:
        def __init__(self) -> None:
            self.left = [best, recording.starts[0]]

        def ask(self) -> object | None:
            return self.left.pop(0) if self.left else None

        def tell(self, tile: object, time_ms: float | None) -> None:
            assert time_ms == recording.times_ms[tile]

    assert replay(recording, Knowing, evaluations=10) == [1.0, 1.0]
    assert recording.slowdown(best) == 1.0

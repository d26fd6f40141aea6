"""The bench of workers: simulated ones do all of the work."""

from __future__ import annotations

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from tools.bench.cluster import BATCH_PATHS, BATCH_SECONDS, simulate


def test_simulated_workers_sleep_through_all_batches() -> None:
    times = simulate(workers=4, paths=40 * BATCH_PATHS)
    assert times["asleep_s"] == pytest.approx(10 * BATCH_SECONDS)
    assert times["seconds"] >= times["asleep_s"]
    assert times["late_mb"] >= times["early_mb"] * 0.5 > 0

"""Every kernel and whole networks on every driver: `make conformance`. Not a part of `make test`."""

from __future__ import annotations

import os

import pytest

from tests.conformance.conftest import MATRIX, Runs
from tests.conformance.drivers import Driver


def test_driver(request: pytest.FixtureRequest, runs: Runs, driver: Driver, part: str) -> None:
    """All runs of one part are right; a driver that is absent is a skip, and on CI a failure."""
    place = runs.places[driver.name]
    if place.problem:
        request.config.stash[MATRIX].add_absent(driver, part, place.problem)
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{driver.title} is absent: {place.problem}")
        pytest.skip(f"{driver.title} is absent: {place.problem}")
    result = runs.result(driver, part)
    assert not result.failures, (
        f"{len(result.failures)} of {len(result.failures) + result.runs} runs failed:\n"
        + "\n".join(result.failures[:20])
    )
    assert result.runs > 0

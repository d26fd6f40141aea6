"""A cluster of two workers in this process, a small model and images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clprune.tuning.spaces import Spaces
from tests.cli.conftest import broken, images, model, run
from tests.tuning.first import first_candidates

__all__ = ["broken", "images", "model", "run"]


@pytest.fixture
def quick_tuning(quick_candidates: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By workers of this process: of few tiles."""
    monkeypatch.setattr(Spaces, "candidates", first_candidates(4))


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of two workers of one thread, which are threads of this process."""
    distributed = pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as found:
        yield found

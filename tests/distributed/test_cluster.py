"""Workers of one machine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

import distributed

from clprune.distributed.cluster import closing, connect, start
from clprune.errors import WorkerError


@pytest.mark.usefixtures("device_context")
def test_workers_leave_nothing_in_the_folder_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There Dask would look for modules, in workers and in the process that starts them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    before = list(sys.path)
    with start(1) as client:
        streams = client.cluster.scheduler.stream_comms.values()
        assert [stream.recent_message_log.maxlen for stream in streams] == [10]  # else a thousand messages with images
        (paths,) = client.run(lambda: sys.path).values()
        assert not [path for path in (*paths, *sys.path) if path.startswith(str(shared))]
        assert paths[0].startswith(str(tmp_path / "cache" / "workers-"))
    assert list(shared.iterdir()) == []
    assert list((tmp_path / "cache").glob("workers-*")) == []
    assert sys.path == before


def test_a_scheduler_without_workers_is_told() -> None:
    options = {"scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}, "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp", **options) as cluster,
        pytest.warns(UserWarning, match="has no workers: the work waits"),
        connect(cluster.scheduler_address),
    ):
        pass


class Expiring:
    """A client whose scheduler ends while it closes, as asyncio tells of it."""

    def close(self) -> None:
        raise RuntimeError("Cannot change state of expiring Timeout")


def test_a_client_that_cannot_close_hides_no_error() -> None:
    with pytest.raises(WorkerError, match="the scheduler ended"), closing(Expiring()):  # type: ignore[arg-type]
        raise WorkerError("the scheduler ended")
    with closing(Expiring()):  # type: ignore[arg-type]
        pass

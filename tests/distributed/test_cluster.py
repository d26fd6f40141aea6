"""Workers of one machine."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from clprune.distributed.cluster import _scratch_folder, start


def test_nobody_else_may_write_where_modules_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask puts a folder first of `sys.path`, of workers and of the process that starts them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    with _scratch_folder() as folder:
        assert folder == tmp_path / "cache" / "workers"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    if hasattr(os, "geteuid"):
        folder.chmod(0o777)
        with _scratch_folder() as folder:
            assert folder.parent == shared and stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not folder.exists()


@pytest.mark.usefixtures("device_context")
def test_workers_leave_nothing_in_the_folder_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    before = list(sys.path)
    with start(1) as client:
        (paths,) = client.run(lambda: sys.path).values()
        assert not [path for path in (*paths, *sys.path) if path.startswith(str(shared))]
        assert paths[0].startswith(str(tmp_path / "cache" / "workers"))
    assert list(shared.iterdir()) == []
    assert sys.path == before

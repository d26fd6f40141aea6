"""Temporary folders of one user alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from clprune.folders import scratch_folder


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files; the cache is `cache` beside it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def test_it_is_in_the_cache_and_gone_afterwards(shared: Path) -> None:
    with scratch_folder("made") as folder, scratch_folder("made") as other:
        assert folder.parent == other.parent == shared.with_name("cache") and folder != other
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
    assert not folder.exists() and list(shared.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no such modes")
def test_a_cache_that_others_may_write_is_not_used(shared: Path) -> None:
    cache = shared.with_name("cache")
    cache.mkdir()
    cache.chmod(0o777)
    with scratch_folder("made") as folder:
        assert folder.parent == shared and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_what_killed_processes_left_is_taken_away(shared: Path) -> None:
    left, others = (shared.with_name("cache") / name for name in ("made-killed", "else-kept"))
    for folder in (left, others):
        folder.mkdir(parents=True)
        (folder / "file").touch()
        os.utime(folder, (0, 0))
    with scratch_folder("made") as running, scratch_folder("made"):
        assert running.exists()
    assert not left.exists() and others.exists()

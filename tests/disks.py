"""Small disks of their own, which fill up and become read-only without harm to others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk_at(where: Path, *, size: str = "300k") -> Iterator[Path]:
    """A new folder that is a disk of this size while the block runs; the test is skipped where none can be mounted."""
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(where)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounts a small disk: needs root on Linux")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill_up(disk: Path) -> Path:
    """Leave no room; returns the file that takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return filler


def make_read_only(disk: Path) -> None:
    """Nothing on it can be written any more."""
    os.sync()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

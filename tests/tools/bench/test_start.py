"""Whole processes, with cache folders of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from clprune.errors import WorkerError
from tools.bench.start import CACHE_VARIABLES, cache_environment, time_starts

#: Leaves a file in a cache and says in the log whether it was there before.
SCRIPT = """
import os, pathlib, sys
mark = pathlib.Path(os.environ["POCL_CACHE_DIR"]) / "kernel"
with open(sys.argv[1], "a") as log:
    log.write("warm\\n" if mark.exists() else "empty\\n")
mark.touch()
"""


def test_empty_then_warm(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said: list[str] = []
    times = time_starts([sys.executable, "-c", SCRIPT, str(log)], rounds=2, say=said.append)
    assert log.read_text().split() == ["empty", "warm"] * 3  # the first round does not count
    assert len(times.empty.samples_ms) == len(times.warm.samples_ms) == 2
    assert len(said) == 3


def test_every_cache_has_a_folder_of_its_own(tmp_path: Path) -> None:
    environment = cache_environment(tmp_path)
    assert set(environment) == set(CACHE_VARIABLES)
    assert len(set(environment.values())) == len(CACHE_VARIABLES)
    assert all(os.listdir(folder) == [] for folder in environment.values())  # noqa: PTH208 - texts, as variables are


@pytest.mark.parametrize(
    ("script", "message"),
    [("raise ValueError('no device')", "ValueError: no device"), ("raise SystemExit(3)", "ended with status 3")],
)
def test_failing_command(script: str, message: str) -> None:
    with pytest.raises(WorkerError, match=message):
        time_starts([sys.executable, "-c", script], rounds=1, say=lambda text: None)

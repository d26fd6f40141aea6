"""A farm on two drivers of one machine, as a user starts it, one worker of which is killed while it measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from distributed import Client

from clprune import distributed
from clprune.distributed.farm import Begun, Lost
from clprune.tiles.records import Measurement
from clprune.tiles.store import Store, open_store
from tests.cli.conftest import with_weights
from tests.conformance.drivers import DRIVERS, find
from tests.distributed import few_candidates
from tests.distributed.test_tune import farm_module, is_of_search

pytestmark = pytest.mark.slow

WORKERS_PER_DRIVER = 2
#: Two kernels that can compute one layer, and one for another: a part for each worker of a driver.
CFG = """\
[net]
width=6
height=5
channels=8

[convolutional]
filters=16
size=3
pad=1
activation=relu

[connected]
output=10
activation=linear
"""
PROBLEMS = 3
SINGLE_RUN = """
import sys
import tests.distributed.few_candidates, clprune
tests.distributed.few_candidates.dask_setup(None)
clprune.tune(sys.argv[1], budget_s=600, effort="thorough")
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As small as a farm of two workers per driver needs."""
    return with_weights(tmp_path / "two.cfg", CFG)


@pytest.fixture
def environments(tmp_path: Path) -> list[Mapping[str, str]]:
    """Of processes that see Intel's driver alone, and PoCL's."""
    places = [find(driver, tmp_path) for driver in DRIVERS if driver.name in ("intel", "pocl")]
    for place in places:
        if place.problem:
            pytest.skip(place.problem)
    threads = {"CL_CONFIG_CPU_TBB_NUM_WORKERS": "1", "POCL_CPU_MAX_CU_COUNT": "1", "POCL_MAX_PTHREAD_COUNT": "1"}
    return [{**os.environ, **place.environment, **threads} for place in places]


@contextmanager
def started(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = (sys.executable, "-m", "dask", *arguments, "--no-dashboard")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def farm(folder: Path, environments: Sequence[Mapping[str, str]], measuring: Path) -> Iterator[Client]:
    """A client of a scheduler and the workers of every driver."""
    file = folder / "scheduler.json"
    worker = ("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--memory-limit", "0",
              "--preload", few_candidates.__name__, "--local-directory", str(folder))  # fmt: skip
    with ExitStack() as stack:
        scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        stack.enter_context(started(scheduler, os.environ))
        for environment in environments * WORKERS_PER_DRIVER:
            stack.enter_context(started(worker, {**environment, few_candidates.MEASURING: str(measuring)}))
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        with Client(json.loads(file.read_text())["address"], set_as_default=False) as client:
            client.wait_for_workers(WORKERS_PER_DRIVER * len(environments), timeout=120)
            yield client


def kill_who_measures(measuring: Path) -> None:
    """The one that waits for it, once it has told what it is at."""
    while not measuring.exists() or len(lines := measuring.read_text().split()) < few_candidates.KILLED:
        time.sleep(0.05)
    time.sleep(2)
    os.kill(int(lines[few_candidates.KILLED - 1]), signal.SIGKILL)


def tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[Any, str], Measurement]:
    """What the database in a folder has of searches."""
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(folder))
    with open_store() as store:
        return {(one.key, one.tile): one for one in store.all_measurements() if is_of_search(one)}


def test_a_farm_tries_what_single_runs_try(
    model: Path, tmp_path: Path, environments: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    single, many, measuring = tmp_path / "single", tmp_path / "many", tmp_path / "measuring"
    for environment in environments:
        command = [sys.executable, "-c", SINGLE_RUN, str(model)]
        subprocess.run(command, env={**environment, "CLPRUNE_DATA_DIR": str(single)}, check=True, timeout=600)
    told: list[Any] = []
    keep = farm_module.keep

    def heard(store: Store, items: Any) -> None:
        told.extend(items := list(items))
        keep(store, items)

    monkeypatch.setattr(farm_module, "keep", heard)
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(many))
    with farm(tmp_path, environments, measuring) as client:
        killer = threading.Thread(target=kill_who_measures, args=(measuring,))
        killer.start()
        results = distributed.tune(client, model, budget_s=600, effort="thorough")
        killer.join()
        assert len(client.scheduler_info()["workers"]) == WORKERS_PER_DRIVER * len(environments) - 1
    assert len({result.device.platform_name for result in results}) == len(environments)
    assert all(len(result.problems) == result.count == PROBLEMS for result in results)
    found, wanted = tried(many, monkeypatch), tried(single, monkeypatch)
    assert found.keys() == wanted.keys()
    lost = {(item.measurement.key, item.measurement.tile) for item in told if isinstance(item, Lost)}
    begun = [(item.key, tile) for item in told if isinstance(item, Begun) for tile in item.tiles]
    assert lost
    assert all(begun.count(candidate) == (2 if candidate in lost else 1) for candidate in found)
    assert [one.invalidity for key, one in found.items() if key not in lost] == [
        wanted[key].invalidity for key in found if key not in lost
    ]

"""Workers and schedulers that die cost time: no image, no answer twice, no more than the candidate under way."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

import dask
from distributed import Nanny

from clprune import distributed
from clprune.distributed.cluster import start
from clprune.resources import models_folder
from clprune.tiles.records import RUNTIME
from clprune.tiles.store import Store, open_store
from tests.cli.conftest import Run
from tests.distributed import few_candidates
from tests.distributed.test_tune import farm_module

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("device_context")]

KILLS, IMAGES = 2, 1_500


def kill_one(client: Any, number: int) -> None:
    pids = list(client.run(os.getpid, on_error="ignore").values())
    os.kill(pids[number % len(pids)], signal.SIGKILL)


def test_killed_workers_cost_no_image(model: Path, images: list[Path]) -> None:
    paths = [str(images[number % 3]) for number in range(IMAGES)]
    found = []
    with start(3) as client:
        for answer in distributed.map_images(client, model, paths):
            found.append(answer.path)
            if len(found) % (IMAGES // (KILLS + 1)) == 0 and len(found) < IMAGES:
                kill_one(client, len(found))
    assert found == paths


@contextmanager
def scheduler_and_worker(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The two as a user starts them, and the scheduler's address."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    processes = []
    for command in (("scheduler", "--host", "127.0.0.1", "--port", "0"), ("worker", "--nthreads", "1")):
        arguments = (sys.executable, "-m", "dask", *command, "--scheduler-file", str(file), "--no-dashboard")
        processes.append(subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder))
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.1)
        yield processes[0], json.loads(file.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("order", [(), ("--unordered",)])
def test_a_scheduler_that_ends_is_gone_on_from(
    order: tuple[str, ...], model: Path, images: list[Path], tmp_path: Path
) -> None:
    paths = [str(images[number % 3]) for number in range(IMAGES)]
    source, out = tmp_path / "images.txt", tmp_path / "answers.jsonl"
    source.write_text("\n".join(paths))
    command = [sys.executable, "-m", "clprune", "infer", str(model), str(source), "--out", str(out)]
    with scheduler_and_worker(tmp_path) as (scheduler, address):
        client = subprocess.Popen([*command, "--scheduler", address, *order], stderr=subprocess.PIPE, text=True)
        while not out.exists() or out.stat().st_size < 10_000:
            time.sleep(0.05)
            assert client.poll() is None
        scheduler.kill()
        said = client.communicate(timeout=120)[1]
    assert client.returncode == 1
    assert "answers are kept in" in said
    assert "the scheduler ended" in said
    assert 0 < len(out.read_bytes().splitlines()) < IMAGES
    with scheduler_and_worker(tmp_path) as (_, address):
        subprocess.run([*command, "--scheduler", address, "--resume"], check=True, timeout=300)
    assert sorted(json.loads(line)["image"] for line in out.read_bytes().splitlines()) == sorted(paths)


def test_a_killed_worker_costs_a_farm_what_was_under_way(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path))
    # All workers die, and then nobody has their problems: that is seen at the second look.
    monkeypatch.setattr(farm_module, "_LOOK_SECONDS", 2.0)
    told = threading.Event()
    put = Store.put_measurement

    def heard(self: Store, measurement: Any, **options: Any) -> int:
        told.set()
        return put(self, measurement, **options)

    monkeypatch.setattr(Store, "put_measurement", heard)
    with dask.config.set({"distributed.worker.preload": [few_candidates.__name__]}), start(2) as client:
        pids = client.run(os.getpid)
        killer = threading.Thread(
            target=lambda: (told.wait(120), [os.kill(pid, signal.SIGKILL) for pid in pids.values()])
        )
        killer.start()
        (result,) = distributed.tune(client, model, budget_s=3)
        killer.join()
        assert set(client.run(os.getpid).values()).isdisjoint(pids.values())
    assert len(result.problems) == result.count == 4
    with open_store() as store:
        outcomes = list(store.all_measurements())
        assert len(outcomes) >= sum(problem.evaluations for problem in result.problems)
        assert len({best.key for best in store.all_best()}) == 4
    keys = [list(group) for _, group in itertools.groupby(outcomes, key=lambda one: one.key)]
    assert all(any(one.time_ms is not None for one in group) for group in keys)
    assert all(one.invalidity == RUNTIME for one in outcomes if one.time_ms is None and not one.build_ms)


@pytest.mark.parametrize(("deaths", "status"), [(2, 0), (3, 1)])
def test_workers_that_are_killed_while_they_start_are_started_again(
    run: Run, model: Path, deaths: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask gives up then, with a traceback."""
    killed = []

    class Dying(Nanny):
        async def start_unsafe(self) -> Any:
            if len(killed) < deaths:
                killed.append(self)
                raise RuntimeError("Nanny failed to start worker process")
            return await super().start_unsafe()  # type: ignore[no-untyped-call]

    monkeypatch.setattr("clprune.distributed.cluster.Nanny", Dying)
    result = run("infer", model, models_folder() / "samples" / "digit-3.png", "--workers", 1)
    assert (len(killed), result.status) == (deaths, status)
    if status:
        assert "worker processes ended while they started, 3 times (" in result.error
        assert "failed to start" in result.error

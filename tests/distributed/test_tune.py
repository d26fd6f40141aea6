"""A farm of workers tunes every kind of device, keeps every outcome, and loses no more than a candidate."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from distributed import Event, Future, KilledWorker

from clprune import distributed
from clprune.device import device_key
from clprune.distributed.farm import MOST_DEATHS, Begun, Lost, ToldStore, alone_on, deaths_of, keep
from clprune.opencl import Session
from clprune.tiles.records import CORRECT, RUNTIME, Key, Measurement
from clprune.tiles.store import Store, open_store
from clprune.tiles.t4 import Results, read_t4
from clprune.tuning.tune import TuneWarning
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device

farm_module = sys.modules["clprune.distributed.tune"]  # whose name in the package is that of the function

OVER = "a test is over"
KEY = Key(device="a", kernel="conv", source_hash="b", problem="c", workload="dense")


def measured(tile: str, time_ms: float | None = 1.0, invalidity: str = CORRECT) -> Measurement:
    return Measurement(key=KEY, tile=tile, time_ms=time_ms, invalidity=invalidity)


def is_of_search(one: Measurement) -> bool:
    """What won in the network alone, as another layer's tile, has no runs of its own."""
    return bool(one.runs_ms) or one.time_ms is None


@pytest.fixture
def own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "database"))


@pytest.mark.usefixtures("quick_tuning")
def test_the_command_with_workers(
    run: Run, client: Any, model: Path, own_database: None, device_context: Session
) -> None:
    out, cluster = model.with_name("tiles.json"), ("--scheduler", client.scheduler.address)
    result = run("tune", model, "--budget", "0.3", "--json", "--out", out, *cluster)
    assert result.status == 0, result.err
    (report,) = json.loads(result.out)["devices"]
    assert report["device"] == device_context.info.name
    assert sorted(problem["kernel"] for problem in report["problems"]) == ["connected", "conv", "conv", "conv_channels"]
    with open_store() as store:
        kept = list(store.all_measurements())
        assert {best.key.device for best in store.all_best()} == {device_key(device_context.info)}
    written = read_t4(out)
    assert {(one.key, one.tile) for one in written.measurements} == {(one.key, one.tile) for one in kept}
    assert len(written.best) == 4
    assert sum(problem["evaluations"] for problem in report["problems"]) == sum(map(is_of_search, kept))
    result = run("tune", model, "--budget", "0.1", "--missing", *cluster)
    assert (result.status, result.out.startswith("nothing to tune")) == (0, True)
    assert run("tune", model, "--out", out).status == 2


def refused(*_: object, **__: object) -> None:
    raise KilledWorker("a task", SimpleNamespace(address="tcp://nobody"), 3)


def waiting(*_: object, **__: object) -> None:
    """For its test's end, which `is_over` tells the workers."""
    Event(OVER).wait()


@pytest.fixture
def is_over(client: Any) -> Iterator[None]:
    over = Event(OVER, client=client)
    over.clear()
    yield
    over.set()


@pytest.mark.usefixtures("own_database", "device_context", "quick_tuning", "is_over")
@pytest.mark.parametrize(("refine", "reason"), [(refused, "workers ended with it"), (waiting, "did not end in time")])
def test_workers_that_end_with_the_last_comparison_cost_nothing_else(
    client: Any, model: Path, monkeypatch: pytest.MonkeyPatch, refine: Any, reason: str
) -> None:
    monkeypatch.setattr(farm_module, "refine_on_worker", refine)
    monkeypatch.setattr(farm_module, "seconds_to_refine", lambda seconds: 0.1)
    monkeypatch.setattr(farm_module, "_MOST_SECONDS_MORE", 0.5)
    with pytest.warns(TuneWarning, match=f"were not compared in the network: .*{reason}"):
        (result,) = distributed.tune(client, model, budget_s=0.3)
    assert (len(result.problems), result.refined, result.interrupted) == (4, (), False)


@pytest.mark.usefixtures("is_over")
def test_what_was_answered_in_time_counts_after_it(client: Any) -> None:
    """A kind whose workers hang takes none of the others' answers with it."""
    future, late = client.submit(int, 3, pure=False), client.submit(waiting, pure=False)
    assert future.result() == farm_module.answer_by(future, time.monotonic() - 1) == 3
    with pytest.raises(asyncio.TimeoutError):
        farm_module.answer_by(late, time.monotonic() - 1)


@pytest.mark.usefixtures("own_database", "device_context", "quick_tuning", "is_over")
def test_an_interrupt_in_the_last_comparison_keeps_what_was_found(
    client: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm_module, "refine_on_worker", waiting)
    monkeypatch.setattr(farm_module, "seconds_to_refine", lambda seconds: 0.1)
    result_of = Future.result

    def result(future: Any, timeout: float | None = None) -> Any:
        if timeout is not None:
            raise KeyboardInterrupt
        return result_of(future)

    monkeypatch.setattr(Future, "result", result)
    (result_found,) = distributed.tune(client, model, budget_s=0.3)
    assert (len(result_found.problems), result_found.interrupted) == (4, True)


def test_a_candidate_is_lost_that_was_begun_and_never_measured() -> None:
    told: list[Any] = [Begun(key=KEY, tiles=("one", "two")), measured("one")]
    assert deaths_of(told) == {(KEY, "two"): 1}
    told += [Lost(measurement=measured("two", None, RUNTIME)), Begun(key=KEY, tiles=("two", "three"))]
    assert deaths_of(told) == {(KEY, "two"): MOST_DEATHS, (KEY, "three"): 1}
    told.append(measured("two"))
    assert deaths_of(told) == {(KEY, "three"): 1}


def test_a_lost_candidate_is_kept_until_more_is_known() -> None:
    with Store(None) as store:
        lost = Lost(measurement=measured("two", None, RUNTIME))
        keep(store, [measured("one"), lost])
        assert {one.tile: one.invalidity for one in store.all_measurements()} == {"one": CORRECT, "two": RUNTIME}
        keep(store, [measured("two"), lost])
        assert {one.tile: one.time_ms for one in store.all_measurements()} == {"one": 1.0, "two": 1.0}


def test_nobody_elses_file_is_in_the_way_of_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="the system has no such locks")
    monkeypatch.setenv("CLPRUNE_CACHE_DIR", str(tmp_path / "cache"))
    with alone_on(imaginary_device(type="cpu")):
        (path,) = (tmp_path / "cache").iterdir()
        assert path.match("clprune-tuning-*-cpu.lock")
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_was_known_is_not_told() -> None:
    heard: list[Any] = []
    known = Results(devices={}, measurements=(measured("one"),), best=())
    with ToldStore(known, heard.append) as store:
        store.put_measurement(measured("two"))
        assert heard == store.told == [measured("two")]
        assert len(list(store.all_measurements())) == 2

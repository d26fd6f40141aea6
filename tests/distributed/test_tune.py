"""A farm of workers tunes every kind of device, keeps every outcome, and loses no more than a candidate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from clprune.device import device_key
from clprune.distributed.farm import MOST_DEATHS, Begun, Lost, ToldStore, alone_on, deaths_of, keep
from clprune.opencl import Session
from clprune.tiles.records import CORRECT, RUNTIME, Key, Measurement
from clprune.tiles.store import Store, open_store
from clprune.tiles.t4 import Results, read_t4
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device

KEY = Key(device="a", kernel="conv", source_hash="b", problem="c", workload="dense")


def measured(tile: str, time_ms: float | None = 1.0, invalidity: str = CORRECT) -> Measurement:
    return Measurement(key=KEY, tile=tile, time_ms=time_ms, invalidity=invalidity)


def is_of_search(one: Measurement) -> bool:
    """What won in the network alone, as another layer's tile, has no runs of its own."""
    return bool(one.runs_ms) or one.time_ms is None


@pytest.fixture
def own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "database"))


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

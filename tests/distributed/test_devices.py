"""Workers announce their devices to each client by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra `distributed` is not installed")

from distributed import Client

from clprune import distributed
from clprune.device import DeviceInfo
from clprune.distributed.devices import announced, own_device
from clprune.errors import NoDeviceError
from tests.cli.conftest import Run
from tests.imaginary import imaginary_device

FOUND = {None: imaginary_device(type="cpu", name="one"), "gpu": imaginary_device(name="another")}


@pytest.fixture
def other(client: Any) -> Iterator[Any]:
    with Client(client.scheduler.address, set_as_default=False) as found:
        yield found


@pytest.fixture
def imaginary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, which are threads of this process, have two devices to select."""

    def choose(selection: str | None) -> DeviceInfo:
        if selection not in FOUND:
            raise NoDeviceError(f"{selection}: expected another")
        return FOUND[selection]

    monkeypatch.setattr("clprune.distributed.devices.choose", choose)


def plugins(client: Any) -> set[str]:
    return {name for names in client.run(lambda dask_worker: list(dask_worker.plugins)).values() for name in names}


def resources(client: Any) -> set[str]:
    """What workers have, by themselves and by their scheduler."""
    own = client.run(lambda dask_worker: {*dask_worker.state.total_resources, *dask_worker.state.available_resources})
    known = client.run_on_scheduler(
        lambda dask_scheduler: {
            *dask_scheduler.resources,
            *(one for worker in dask_scheduler.workers.values() for one in (*worker.resources, *worker.used_resources)),
        }
    )
    return set().union(known, *own.values())


def wait_to_be_told(submitted: Any) -> None:
    """Run until the file is there."""
    while not submitted.exists():
        time.sleep(0.05)


@pytest.mark.usefixtures("imaginary")
def test_nothing_of_a_run_stays_on_workers(client: Any, tmp_path: Path) -> None:
    """But what a task is busy with still, for which there must be something to give back."""
    before, end = resources(client), tmp_path / "end"
    with announced(client, selection=None) as run:
        assert len(resources(client) - before) == 1
    assert resources(client) == before
    with announced(client, selection=None) as run:
        busy = client.submit(wait_to_be_told, end, resources=run.resources(FOUND[None]), pure=False)
        while not any(client.processing().values()):
            time.sleep(0.05)
    end.touch()
    busy.result()
    assert client.submit(int, "7").result() == 7
    assert len(resources(client) - before) == 1


@pytest.mark.usefixtures("imaginary")
def test_two_clients_at_once_select_devices_of_their_own(client: Any, other: Any) -> None:
    before, held = plugins(client), resources(client)

    def own(run: Any, of: Any) -> DeviceInfo:
        (device,) = run.devices
        found: DeviceInfo = of.submit(own_device, run.name, resources=run.resources(device), pure=False).result()
        return found

    with announced(client, selection=None) as first:
        with announced(other, selection="gpu") as second:
            assert (own(first, client), own(second, other)) == (FOUND[None], FOUND["gpu"])
            assert [run.count_workers(FOUND[None]) for run in (first, second)] == [2, 0]
        # the end of one takes nothing from the other
        assert own(first, client) == FOUND[None]
        assert plugins(client) - before == {first.name}
        assert {resource.rpartition("-")[0] for resource in resources(client) - held} == {first.name}
    assert (plugins(client), resources(client)) == (before, held)


@pytest.mark.usefixtures("imaginary")
def test_another_client_does_not_reset_what_is_in_use(client: Any, other: Any, tmp_path: Path) -> None:
    """Dask's own call would: the busy worker were given more, whoever else is idle, and for ever."""
    end = tmp_path / "end"

    def used() -> list[float]:
        """By what the scheduler counts."""
        counts = client.run_on_scheduler(
            lambda dask_scheduler: [dict(worker.used_resources) for worker in dask_scheduler.workers.values()]
        )
        return sorted(count for worker in counts for name, count in worker.items() if name.startswith(run.name))

    with announced(client, selection=None) as run:
        busy = client.submit(wait_to_be_told, end, resources=run.resources(FOUND[None]), pure=False)
        while not any(client.processing().values()):
            time.sleep(0.05)
        with announced(other, selection="gpu"):
            assert used() == [0, 1]
            end.touch()
            busy.result()
        assert used() == [0, 0]


@pytest.mark.usefixtures("imaginary")
def test_no_worker_has_such_a_device(client: Any) -> None:
    before = plugins(client)
    with pytest.raises(NoDeviceError, match="absent: expected another"), announced(client, selection="absent"):
        pass
    assert plugins(client) == before


def test_a_worker_without_clprune_is_told(
    run: Run, client: Any, model: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of a cluster's own environment."""

    def refuse(*_: object, **__: object) -> None:
        raise Exception("ModuleNotFoundError(\"No module named 'clprune'\")")  # as the scheduler says it

    monkeypatch.setattr(Client, "register_plugin", refuse)
    cluster = ("--scheduler", client.scheduler.address)
    for arguments in (("infer", model, *images), ("tune", model, "--no-keep"), ("eval", model, "--data", "synthetic")):
        result = run(*arguments, *cluster)
        assert result.status == 1
        assert (
            "a worker cannot load its work (ModuleNotFoundError(\"No module named 'clprune'\")): install there"
            in result.error
        )


@pytest.mark.slow
@pytest.mark.usefixtures("device_context", "quick_tuning")
def test_two_farms_at_once(
    client: Any, other: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPRUNE_DATA_DIR", str(tmp_path / "database"))
    with ThreadPoolExecutor(2) as threads:
        farms = [threads.submit(distributed.tune, one, model, budget_s=0.2) for one in (client, other)]
    for farm in farms:
        (result,) = farm.result()
        assert (len(result.problems), result.interrupted) == (4, False)

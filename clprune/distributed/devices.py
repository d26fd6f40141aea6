"""Workers announce their devices: the kind of each is a resource of Dask's, by which work finds a worker."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from distributed import Client, Scheduler, Worker, WorkerPlugin, get_worker

from clprune.device import DeviceInfo, device_key
from clprune.errors import NoDeviceError
from clprune.opencl import choose


@dataclass(frozen=True, kw_only=True, eq=False)
class Announced:
    """The distinct `devices` of the workers, announced under the `name` of one run.

    Plug-in and resources have names of the run: another client of the same scheduler may select other devices.
    """

    client: Client
    name: str
    devices: list[DeviceInfo]

    def resources(self, device: DeviceInfo) -> dict[str, float]:
        """What a task on such a device needs."""
        return {_resource_of(self.name, device): 1}

    def count_workers(self, device: DeviceInfo) -> int:
        """Workers that have such a device now."""
        workers = self.client.scheduler_info()["workers"].values()
        return sum(_resource_of(self.name, device) in worker["resources"] for worker in workers)


class _Announcement(WorkerPlugin):
    """The device that a worker selects, and what stands in the way of one."""

    def __init__(self, name: str, selection: str | None) -> None:
        self._run, self._selection = name, selection
        self.found: DeviceInfo | NoDeviceError | None = None

    async def setup(self, worker: Worker) -> None:
        try:
            self.found = await asyncio.to_thread(choose, self._selection)
        except NoDeviceError as error:
            self.found = error
        else:
            await worker.set_resources(**{_resource_of(self._run, self.found): 1})

    def teardown(self, worker: Worker) -> None:
        """Take the resource back, for which Dask has no call, unless something still runs on it or is to."""
        state = worker.state
        unfinished = (task for task in state.tasks.values() if task.state not in ("memory", "error"))
        busy = {resource for task in unfinished for resource in task.resource_restrictions or ()}
        for resource in [one for one in state.total_resources if one.startswith(self._run) and one not in busy]:
            del state.total_resources[resource], state.available_resources[resource]


@contextmanager
def announced(client: Client, *, selection: str | None) -> Iterator[Announced]:
    """What devices the workers have; those that join within the block announce theirs, too.

    Each worker has the one that `selection` names there, None: its CLPRUNE_DEVICE. Raises NoDeviceError where no worker
    has any.
    """
    name = f"clprune-{uuid.uuid4().hex}"
    client.register_plugin(_Announcement(name, selection), name=name)
    try:
        client.wait_for_workers(1)
        found = client.run(_found_on, name).values()
        devices = {device_key(device): device for device in found if isinstance(device, DeviceInfo)}
        if not devices:
            nobody = NoDeviceError("no worker has announced a device: start one that has")
            raise next((error for error in found if isinstance(error, NoDeviceError)), nobody)
        yield Announced(client=client, name=name, devices=list(devices.values()))
    finally:
        with suppress(Exception):  # the scheduler may have ended
            client.unregister_worker_plugin(name)
            client.run_on_scheduler(_forgetting(name))


def own_device(name: str) -> DeviceInfo:
    """The device that the worker of this task announced under the `name` of a run."""
    return cast(DeviceInfo, cast(_Announcement, get_worker().plugins[name]).found)


def _forgetting(name: str) -> Callable[[Scheduler], None]:
    """What makes a scheduler forget the resources of a run that nothing uses.

    It goes there with its code, as functions of functions do: a scheduler may have no clprune.
    """

    def forget(dask_scheduler: Scheduler) -> None:
        for worker in dask_scheduler.workers.values():
            busy = {resource for task in worker.processing for resource in task.resource_restrictions or ()}
            for resource in [one for one in worker.resources if one.startswith(name) and one not in busy]:
                del worker.resources[resource]
                worker.used_resources.pop(resource, None)
                dask_scheduler.resources[resource].pop(worker.address, None)
        for resource in [one for one, has in dask_scheduler.resources.items() if one.startswith(name) and not has]:
            del dask_scheduler.resources[resource]

    return forget


def _resource_of(name: str, device: DeviceInfo) -> str:
    """What a worker with such a device has one of; equal devices share it."""
    return f"{name}-{hashlib.sha256(device_key(device).encode()).hexdigest()[:16]}"


def _found_on(name: str, dask_worker: Worker) -> DeviceInfo | NoDeviceError | None:
    announcement = dask_worker.plugins.get(name)  # one that has just joined has none yet
    return None if announcement is None else cast(_Announcement, announcement).found

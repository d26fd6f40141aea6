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
from distributed.protocol.pickle import dumps

from clprune.device import DeviceInfo, device_key
from clprune.distributed.cluster import register, scheduler_errors
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
            resource = _resource_of(self._run, self.found)
            worker.state.total_resources[resource] = worker.state.available_resources[resource] = 1
            tell = dumps(_announcing(worker.contact_address or worker.address, resource))
            answer = await worker.scheduler.run_function(function=tell)
            if answer["status"] != "OK":  # else work for the device would wait for ever
                raise RuntimeError(f"the scheduler does not take what the worker has: {answer}")

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
    has any, WorkerError where the scheduler ends or a worker has no clprune.
    """
    name = f"clprune-{uuid.uuid4().hex}"
    try:
        register(client, _Announcement(name, selection), name=name)
        with scheduler_errors(client):
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


# What follows goes to the scheduler with its code, as functions of functions do: a scheduler may have no clprune.


def _announcing(address: str, resource: str) -> Callable[[Scheduler], None]:
    """What tells a scheduler of a worker's resource.

    By Dask's own call it would take all that the worker has for unused, also what tasks of another client are busy
    with, and so give it more than one of these at a time.
    """

    def announce(dask_scheduler: Scheduler) -> None:
        worker = dask_scheduler.workers.get(address)
        if worker is not None:  # it may have gone again
            worker.resources[resource] = 1
            worker.used_resources[resource] = 0
            dask_scheduler.resources.setdefault(resource, {})[address] = 1

    return announce


def _forgetting(name: str) -> Callable[[Scheduler], None]:
    """What makes a scheduler forget the resources of a run that nothing uses."""

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

"""Workers announce their devices: the kind of each is a resource of Dask's, by which work finds a worker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from distributed import Client, Worker, WorkerPlugin, get_worker

from clprune.device import DeviceInfo, device_key
from clprune.errors import NoDeviceError
from clprune.opencl import choose

_PLUGIN = "clprune-devices"


def resource_of(device: DeviceInfo) -> str:
    """What a worker with such a device has one of; equal devices share it."""
    return f"clprune-{hashlib.sha256(device_key(device).encode()).hexdigest()[:16]}"


class _Announcement(WorkerPlugin):
    """The device that a worker selects, and what stands in the way of one."""

    def __init__(self, selection: str | None) -> None:
        self._selection = selection
        self.found: DeviceInfo | NoDeviceError | None = None

    async def setup(self, worker: Worker) -> None:
        try:
            self.found = await asyncio.to_thread(choose, self._selection)
        except NoDeviceError as error:
            self.found = error
        else:
            await worker.set_resources(**{resource_of(self.found): 1})


@contextmanager
def announced(client: Client, *, selection: str | None) -> Iterator[list[DeviceInfo]]:
    """The distinct devices of the workers; those that join within the block announce theirs, too.

    Each worker has the one that `selection` names there, None: its CLPRUNE_DEVICE. Raises NoDeviceError where no worker
    has any.
    """
    client.register_plugin(_Announcement(selection), name=_PLUGIN)
    try:
        client.wait_for_workers(1)
        found = client.run(_found_on).values()
        devices = {device_key(device): device for device in found if isinstance(device, DeviceInfo)}
        if not devices:
            nobody = NoDeviceError("no worker has announced a device: start one that has")
            raise next((error for error in found if isinstance(error, NoDeviceError)), nobody)
        yield list(devices.values())
    finally:
        with suppress(Exception):  # the scheduler may have ended
            client.unregister_worker_plugin(_PLUGIN)


def count_workers(client: Client, device: DeviceInfo) -> int:
    """Workers that have such a device now."""
    workers = client.scheduler_info()["workers"].values()
    return sum(resource_of(device) in worker["resources"] for worker in workers)


def own_device() -> DeviceInfo:
    """The device of the worker that runs this task."""
    return cast(DeviceInfo, cast(_Announcement, get_worker().plugins[_PLUGIN]).found)


def _found_on(dask_worker: Worker) -> DeviceInfo | NoDeviceError | None:
    return cast(_Announcement, dask_worker.plugins[_PLUGIN]).found

"""Where the workers are: a scheduler's address, or processes of this machine that share its cores and devices."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Worker, WorkerPlugin
from distributed.comm.core import CommClosedError
from distributed.comm.core import connect as open_comm

from clprune.device import device_key
from clprune.errors import UsageError, WorkerError, shown
from clprune.folders import scratch_folder
from clprune.machine import memory_bytes
from clprune.opencl import choose, devices
from clprune.tuning.pool import available_cores
from clprune.version import __version__

CONNECT_SECONDS, CLOSE_SECONDS = 5, 10

#: How often workers are started that end while they do.
_START_TRIES = 3

#: A Python with Dask and NumPy takes more.
LEAST_WORKER_BYTES = 1 << 26

#: What workers raise that lack a package, or have another version of one.
_CANNOT_UNPICKLE = re.compile("ModuleNotFoundError|ImportError|AttributeError")

#: Of Dask. A large image is one task: its advice on that is not for who runs a command. And client and scheduler would
#: keep, for Dask's developers, the last 1,000 messages to each worker, which are paths and images.
SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1 GiB",
    "distributed.admin.low-level-log-length": 10,
}

#: Variables by which drivers for CPUs learn how many threads they may have: Intel's, PoCL's from version 4 and before.
_THREADS_OF_DRIVERS = ("CL_CONFIG_CPU_TBB_NUM_WORKERS", "POCL_CPU_MAX_CU_COUNT", "POCL_MAX_PTHREAD_COUNT")


class LocalWorker(Worker):
    """A worker of this machine. Ctrl-C reaches all processes of a terminal; the client decides what it means."""

    async def start_unsafe(self) -> Any:
        """Called by Dask once, in the process's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return await super().start_unsafe()  # type: ignore[no-untyped-call]


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client of the scheduler at `address`, such as tcp://host:8786. Raises WorkerError where none answers."""
    with dask.config.set(SETTINGS):
        try:
            asyncio.run(asyncio.wait_for(_greet(address), CONNECT_SECONDS + 1))
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, MemoryError, asyncio.TimeoutError) as error:
            # Dask takes the first bytes of anything for a length
            reason = "another service does" if isinstance(error, MemoryError | asyncio.TimeoutError) else error
            raise WorkerError(
                f"no scheduler answers at {address!r} ({reason}): expected its address, such as tcp://host:8786, as "
                "`dask scheduler` prints it"
            ) from error
        with closing(client):
            if not client.nthreads():
                warnings.warn(
                    f"the scheduler at {address} has no workers: the work waits until one joins", stacklevel=2
                )
            yield client


@contextmanager
def closing(client: Client) -> Iterator[Client]:
    """Close it at the end. What that raises where its scheduler has ended, such as asyncio's "Cannot change state of
    expiring Timeout", would hide what the work raised.
    """
    try:
        yield client
    finally:
        with suppress(RuntimeError, OSError, asyncio.TimeoutError):
            client.close()


async def _greet(address: str) -> None:
    """See whether a scheduler is there: a client itself would wait for ever for a service that says nothing."""
    arguments = Security().get_connection_args("client")
    comm = await open_comm(address, timeout=CONNECT_SECONDS, **arguments)
    await comm.close()


@contextmanager
def scheduler_errors(client: Client) -> Iterator[None]:
    """A WorkerError in the place of the many that calls raise when the scheduler has ended."""
    try:
        yield
    except Exception as error:
        if client.status == "running" and not isinstance(error, CancelledError | CommClosedError):
            raise
        raise WorkerError("the scheduler ended or lost its client; start it again, and the same command") from error


def register(client: Client, plugin: WorkerPlugin, *, name: str) -> None:
    """Give all workers a plug-in. Raises WorkerError where one cannot unpickle it, or the scheduler has ended."""
    with scheduler_errors(client):
        try:
            client.register_plugin(plugin, name=name)
        except Exception as error:  # the scheduler tells what a worker raised as text
            if client.status != "running" or not _CANNOT_UNPICKLE.search(repr(error)):
                raise
            raise WorkerError(
                f"a worker cannot load its work ({error}): install there what is installed here, clprune {__version__} "
                "with the extra `distributed` at least"
            ) from error


@contextmanager
def start(workers: int, *, device: str | None = None) -> Iterator[Client]:
    """A client of `workers` new processes of one thread each, on the device that `device` selects and its equals.

    They are dealt out to these devices, and the cores to them. Raises NoDeviceError, UsageError for more of them than
    the machine has memory for, WorkerError where some end while they start, again and again.
    """
    needed, memory = workers * LEAST_WORKER_BYTES, memory_bytes()
    if needed > memory:
        found = f"{workers} worker processes take at least {needed} bytes, of which this machine has {memory}"
        raise UsageError(f"{found}: expected fewer (--workers)")
    quiet = logging.CRITICAL  # what matters of it reaches the client as an error
    equal = _equal_devices(device)
    options: dict[str, Any] = {"dashboard": False, "host": "127.0.0.1"}
    of_worker = {"worker_class": LocalWorker, "nthreads": 1, "memory_limit": 0, "silence_logs": quiet}
    specification = {
        number: {
            "cls": Nanny,
            "options": options | of_worker | {"env": _environment(equal[number % len(equal)], workers)},
        }
        for number in range(workers)
    }
    of_scheduler = {"cls": Scheduler, "options": options | {"dashboard_address": "127.0.0.1:0", "port": 0}}
    # by itself Dask takes a folder in /tmp of whoever came first, and looks for modules there before anywhere else
    with scratch_folder("workers") as folder, dask.config.set({"temporary-directory": str(folder), **SETTINGS}):
        cluster = _started(workers=specification, scheduler=of_scheduler, silence_logs=quiet)
        try:
            with closing(Client(cluster, set_as_default=False)) as client:
                yield client
        finally:
            with suppress(asyncio.TimeoutError):  # it may wait for ever for one that was killed and is starting again
                cluster.close(timeout=CLOSE_SECONDS)


def _started(**settings: Any) -> SpecCluster:
    """A cluster whose workers run; Dask replaces those that end later, but gives up where one does while it starts."""
    tries = 0
    while True:
        tries += 1
        try:
            return SpecCluster(**settings)  # one that fails closes what it has started
        except (RuntimeError, asyncio.TimeoutError) as error:
            if tries == _START_TRIES:
                reason = shown(str(error) or type(error).__name__)
                text = f"worker processes ended while they started, {tries} times ({reason}): is memory short?"
                raise WorkerError(f"{text} Expected fewer (--workers), or try again") from error


def _equal_devices(selection: str | None) -> list[str]:
    """Selectors of the device that is selected and of those equal to it."""
    chosen = choose(selection)
    alike = [other.selector for other in devices() if device_key(other) == device_key(chosen)]
    return [chosen.selector, *(selector for selector in alike if selector != chosen.selector)]


def _environment(selector: str, workers: int) -> dict[str, str]:
    """What a worker's process is told: its device, how many cores are its own, and to spend nothing on profiles."""
    threads = max(available_cores() // workers, 1)
    own = {"CLPRUNE_DEVICE": selector, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    return own | dict.fromkeys(_THREADS_OF_DRIVERS, str(threads))

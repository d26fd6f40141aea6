"""What a session hands out: buffers, programs, kernels with their limits, and kernels bound to their arguments."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from clprune.device import DeviceInfo
from clprune.errors import LaunchError
from clprune.opencl.codes import DRIVER_ERRORS

# Nothing is faster: a driver that reports less counts in another unit (rusticl numbers its events 0, 1, 2, 3).
_SHORTEST_LAUNCH_SECONDS = 1e-7


class Buffer:
    """`nbytes` of device memory, freed when nothing refers to it. `memory` is the driver's object.

    `host`: the same bytes where they lie in the host's memory, uint8, to be touched while nothing runs.
    """

    __slots__ = ("__weakref__", "host", "memory", "nbytes")

    def __init__(self, memory: Any, *, nbytes: int, host: npt.NDArray[np.uint8] | None = None) -> None:
        self.memory = memory
        self.nbytes = nbytes
        self.host = host


Argument: TypeAlias = Buffer | np.generic


@dataclass(frozen=True, kw_only=True)
class Program:
    """A built program. `log` is what the compiler said; empty when it came from the cache on disk.

    `suffix`: what follows the names of its kernels, when it was built as part of a larger one.
    """

    built: Any
    source: str
    log: str
    suffix: str = ""

    def function(self, name: str) -> cl.Kernel:
        """A new driver object of the kernel `name`."""
        return cl.Kernel(self.built, name + self.suffix)


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel of a built program with the limits that only a build can tell.

    `work_group_limit`: most work-items in a work-group (CL_KERNEL_WORK_GROUP_SIZE), often below the device's.
    `preferred_multiple`: work-group sizes should be multiples of it.
    `local_mem_bytes`, `private_mem_bytes`: per work-group and per work-item, as far as the driver tells.
    """

    name: str
    program: Program
    argument_count: int
    work_group_limit: int
    preferred_multiple: int
    local_mem_bytes: int
    private_mem_bytes: int

    def obstacle(self, device: DeviceInfo, *, work_group_size: int) -> str | None:
        """Why work-groups of that many work-items cannot run, as only the built kernel can tell, or None."""
        if work_group_size > self.work_group_limit:
            return f"the built kernel allows work-groups of {self.work_group_limit}, not {work_group_size}"
        if self.local_mem_bytes > device.local_mem_bytes:
            return (
                f"the built kernel needs {self.local_mem_bytes} bytes of local memory, "
                f"the device has {device.local_mem_bytes}"
            )
        return None


class BoundKernel:
    """A kernel with its arguments and sizes, to be launched again and again; made by `Session.bind`.

    It owns its driver object, because arguments are state of that object and two launches must not share it. Bind
    once per thread.
    """

    __slots__ = ("_arguments", "_global_size", "_kernel", "_local_size", "_profiling_queue", "_queue", "name")

    def __init__(
        self,
        *,
        name: str,
        kernel: cl.Kernel,
        arguments: tuple[Argument, ...],
        global_size: tuple[int, ...],
        local_size: tuple[int, ...],
        queue: cl.CommandQueue,
        profiling_queue: cl.CommandQueue | None,
    ) -> None:
        self.name = name
        self._kernel = kernel
        self._arguments = arguments  # keeps the buffers alive as long as the kernel may read them
        self._global_size = global_size
        self._local_size = local_size
        self._queue = queue
        self._profiling_queue = profiling_queue

    def enqueue(self) -> None:
        """Start the kernel after everything enqueued before, and return at once. Raises LaunchError."""
        try:
            cl.enqueue_nd_range_kernel(self._queue, self._kernel, self._global_size, self._local_size)
        except DRIVER_ERRORS as error:
            raise self._refused(error) from error

    def timed(self) -> float:
        """Run the kernel once, alone, and return its seconds on the device. Raises LaunchError.

        By the device's profiling events where they can be believed, else by the host's clock, launch included.
        """
        return BoundKernel.timed_in_a_row([self])[0]

    @staticmethod
    def timed_in_a_row(kernels: Sequence[BoundKernel], *, before: Sequence[BoundKernel] = ()) -> list[float]:
        """Run `before` and then `kernels`, each right behind the one before it, and return the seconds of `kernels`.

        That is how a network runs. Where the host waits between launches, a CPU driver's threads go to sleep, and in a
        virtual machine they may wake up so late that one of them computes everything. Kernels are timed one by one
        where the device's profiling events cannot be believed. Raises LaunchError.
        """
        return kernels[-1]._timed_last(kernels, before) if kernels else []

    def _timed_last(self, kernels: Sequence[BoundKernel], before: Sequence[BoundKernel]) -> list[float]:
        """`timed_in_a_row` where this is the last of `kernels`."""
        is_alone = len(kernels) == 1 and not before
        if self._profiling_queue is None and not is_alone:
            for kernel in before:
                kernel.enqueue()
            return [kernel.timed() for kernel in kernels]
        queue = self._profiling_queue or self._queue
        try:
            self._queue.finish()
            start = time.perf_counter()
            events = [
                cl.enqueue_nd_range_kernel(queue, kernel._kernel, kernel._global_size, kernel._local_size)
                for kernel in (*before, *kernels)
            ][len(before) :]
            events[-1].wait()
            host_seconds = time.perf_counter() - start
            if self._profiling_queue is None:
                return [host_seconds]
            seconds = [1e-9 * (event.profile.end - event.profile.start) for event in events]
        except DRIVER_ERRORS as error:
            raise self._refused(error) from error
        if min(seconds) > _SHORTEST_LAUNCH_SECONDS and sum(seconds) <= host_seconds:
            return seconds
        return [host_seconds] if is_alone else [kernel.timed() for kernel in kernels]

    def _refused(self, error: Exception) -> LaunchError:
        return LaunchError(
            f"kernel {self.name!r}, global size {self._global_size}, local size {self._local_size}: "
            f"the driver refused the launch: {error}"
        )


def check_launch(
    kernel: Kernel,
    device: DeviceInfo,
    *,
    global_size: tuple[int, ...],
    local_size: tuple[int, ...],
    arguments: Sequence[object],
) -> None:
    """Raise LaunchError for a launch that the driver would refuse or, worse, accept; the text names the limit."""
    where = f"kernel {kernel.name!r}"
    if len(arguments) != kernel.argument_count:
        raise LaunchError(f"{where} takes {kernel.argument_count} arguments, {len(arguments)} were given")
    for index, argument in enumerate(arguments):
        if not isinstance(argument, Buffer | np.generic):
            found = f"argument {index} is {type(argument).__name__}"
            raise LaunchError(f"{where}: {found}; expected a Buffer or a NumPy scalar such as np.int32(3)")
    if not 1 <= len(global_size) <= 3 or min(global_size) < 1:
        raise LaunchError(f"{where}: global size {global_size} must be 1 to 3 positive numbers")
    if kernel.local_mem_bytes > device.local_mem_bytes:
        needed = f"{kernel.local_mem_bytes} bytes of local memory"
        raise LaunchError(f"{where} needs {needed}, {device.name} has {device.local_mem_bytes}")
    where = f"{where}: local size {local_size}"
    if len(local_size) != len(global_size) or min(local_size) < 1:
        raise LaunchError(f"{where} does not match the dimensions of global size {global_size}")
    if any(size % part for size, part in zip(global_size, local_size, strict=True)):
        raise LaunchError(f"{where} does not divide global size {global_size}")
    if any(part > limit for part, limit in zip(local_size, device.max_work_item_sizes, strict=False)):
        raise LaunchError(f"{where} exceeds the device's limit per dimension, {device.max_work_item_sizes}")
    items = math.prod(local_size)
    if items > kernel.work_group_limit:
        raise LaunchError(f"{where} has {items} work-items, this kernel's limit is {kernel.work_group_limit}")

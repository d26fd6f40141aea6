"""An open device: build programs, allocate and copy memory, bind and launch kernels."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from clprune import quirks
from clprune.closing import Closing
from clprune.device import DeviceInfo
from clprune.errors import BuildError, LaunchError, NoDeviceError
from clprune.opencl import invoker_cache
from clprune.opencl.codes import DRIVER_ERRORS
from clprune.opencl.host_memory import host_memory
from clprune.opencl.kernels import Argument, BoundKernel, Buffer, Kernel, Program, check_launch
from clprune.opencl.platforms import find_handle
from clprune.opencl.programs import Programs

SMALLEST_BUFFER_BYTES = 16  # OpenCL refuses empty buffers; a fully pruned layer has empty lists


class Session(Closing):
    """An open device: its context, its in-order queue, and the programs built so far.

    Use it as a context manager, or call `close()`. Launches run in the order in which they were enqueued; `finish()`
    and every read wait for them. Building from several threads at once is safe.

    What asks the driver is in methods of its own, for which another driver has its own (`CudaSession`).
    """

    #: What the driver raises.
    _errors: ClassVar[tuple[type[Exception], ...]] = DRIVER_ERRORS

    def __init__(self, info: DeviceInfo, *, keeps_binaries: bool = True) -> None:
        """Open the device that `info` addresses; without `keeps_binaries` nothing goes to the cache on disk.

        Raises NoDeviceError.
        """
        self.info = info
        keeps_binaries = keeps_binaries and not quirks.has(info, quirks.BINARIES_BUILT_AGAIN)
        invoker_cache.prepare()
        try:
            self._device = find_handle(info)
            self._context = cl.Context([self._device])
            self._queue = cl.CommandQueue(self._context)
            self._programs = Programs(info, device=self._device, context=self._context, keeps_binaries=keeps_binaries)
        except DRIVER_ERRORS as error:
            raise NoDeviceError(
                f"device {info.selector} ({info.name}) cannot be opened: {error}; `clprune devices` lists the others"
            ) from error
        self._profiling_queue = self._make_profiling_queue()

    def close(self) -> None:
        """Wait for what runs and forget the built programs. Raises LaunchError when something enqueued failed."""
        self._programs.clear()
        self.finish()

    def _make_profiling_queue(self) -> cl.CommandQueue | None:
        """Return a second queue that records times (recording slows some drivers down), or None where none can."""
        profiling = cl.command_queue_properties.PROFILING_ENABLE
        if quirks.has(self.info, quirks.EVENT_TIMES_COUNT):
            return None
        try:
            if not self._device.queue_properties & profiling:
                return None
            return cl.CommandQueue(self._context, properties=profiling)
        except DRIVER_ERRORS:
            return None

    # --- building ---

    def build(self, source: str, *, options: tuple[str, ...] = (), keep: bool = True) -> Program:
        """Build OpenCL C 1.2 `source`; with `keep`, the same source is built once and its binary kept on disk.

        A search that tries hundreds of candidates passes `keep=False`: of those the last few are remembered. Raises
        BuildError with the compiler's log.
        """
        return self._programs.build(source, options) if keep else self._programs.build_briefly(source, options)

    def build_together(self, sources: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Build those of many (source, options) that are new at once: faster than one by one. `build` then finds them,
        or tells which of them the compiler refuses.
        """
        self._programs.build_together(sources)

    def kernel(self, program: Program, name: str) -> Kernel:
        """Return the kernel `name` with its limits on this device. Raises BuildError when there is none."""
        try:
            return self._kernel(program, name)
        except self._errors as error:
            raise BuildError(f"no kernel {name!r} in the program: {error}", log="", source=program.source) from error

    def _kernel(self, program: Program, name: str) -> Kernel:
        kernel = program.function(name)
        query = cl.kernel_work_group_info
        ask = kernel.get_work_group_info
        is_true = not quirks.has(self.info, quirks.KERNEL_LIMITS_UNTRUE)
        return Kernel(
            name=name,
            program=program,
            argument_count=kernel.num_args,
            work_group_limit=ask(query.WORK_GROUP_SIZE, self._device) if is_true else self.info.max_work_group_size,
            preferred_multiple=ask(query.PREFERRED_WORK_GROUP_SIZE_MULTIPLE, self._device),
            local_mem_bytes=ask(query.LOCAL_MEM_SIZE, self._device) if is_true else 0,
            private_mem_bytes=ask(query.PRIVATE_MEM_SIZE, self._device),
        )

    # --- memory ---

    def empty_buffer(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` with undefined contents. Raises LaunchError."""
        limit = self.info.max_alloc_bytes
        if nbytes > limit:
            raise LaunchError(f"a buffer of {nbytes} bytes is larger than {self.info.name} allows: {limit}")
        try:
            return self._allocate(nbytes)
        except self._errors as error:
            raise LaunchError(f"{self.info.name} cannot allocate {nbytes} bytes: {error}") from error

    def _allocate(self, nbytes: int) -> Buffer:
        if self._shares_memory:
            host = host_memory(nbytes)
            flags = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
            buffer = Buffer(cl.Buffer(self._context, flags, hostbuf=host), nbytes=nbytes, host=host)
            weakref.finalize(buffer, _wait_for, self._queue, self._profiling_queue)
            return buffer
        size = max(nbytes, SMALLEST_BUFFER_BYTES)
        return Buffer(cl.Buffer(self._context, cl.mem_flags.READ_WRITE, size=size), nbytes=nbytes)

    def buffer_from(self, array: npt.NDArray[Any]) -> Buffer:
        """Allocate a buffer that holds a copy of `array`'s bytes in C order. Raises LaunchError."""
        buffer = self.empty_buffer(array.nbytes)
        self.write(buffer, array)
        return buffer

    def zeros(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` of zeros. Raises LaunchError."""
        buffer = self.empty_buffer(nbytes)
        self.fill_zeros(buffer)
        return buffer

    def fill_zeros(self, buffer: Buffer) -> None:
        """Overwrite the whole buffer with zeros, in queue order. Raises LaunchError."""
        if quirks.has(self.info, quirks.FILLS_UNTRACKED):
            self.write(buffer, np.zeros(buffer.nbytes, np.uint8))
            return
        try:
            self._fill(buffer, max(buffer.nbytes, SMALLEST_BUFFER_BYTES))
        except self._errors as error:
            raise LaunchError(f"cannot clear {buffer.nbytes} bytes: {error}") from error

    @functools.cached_property
    def _shares_memory(self) -> bool:
        """Whether the driver uses memory of the host in place: what one side writes there the other finds."""
        if not quirks.uses_host_memory(self.info):
            return False
        host, found = host_memory(SMALLEST_BUFFER_BYTES), np.zeros(2, np.uint8)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
        memory = cl.Buffer(self._context, flags, hostbuf=host)
        host[:2] = 3, 4
        cl.enqueue_fill_buffer(self._queue, memory, np.uint8(5), 0, 1)
        cl.enqueue_copy(self._queue, found, memory, is_blocking=True)
        return [*host[:2], *found] == [5, 4, 5, 4]

    def _fill(self, buffer: Buffer, nbytes: int) -> None:
        cl.enqueue_fill_buffer(self._queue, buffer.memory, np.zeros(1, np.uint8), 0, nbytes)

    def write(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy `array`'s bytes to the buffer's start, in queue order; returns when the array may be changed again.

        Raises LaunchError.
        """
        contiguous = np.ascontiguousarray(array)
        if contiguous.nbytes > buffer.nbytes:
            raise LaunchError(f"cannot write {contiguous.nbytes} bytes into a buffer of {buffer.nbytes}")
        if contiguous.nbytes == 0:
            return
        try:
            self._copy_in(buffer, contiguous)
        except self._errors as error:
            raise LaunchError(f"cannot write {contiguous.nbytes} bytes: {error}") from error

    def _copy_in(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        if buffer.host is None:
            cl.enqueue_copy(self._queue, buffer.memory, array, is_blocking=True)
            return
        self._queue.finish()
        buffer.host[: array.nbytes] = _bytes(array)

    def read(self, buffer: Buffer, dtype: npt.DTypeLike, shape: int | Sequence[int]) -> npt.NDArray[Any]:
        """Wait for all launches and return the buffer's start as a new array. Raises LaunchError."""
        array = np.empty(shape, dtype)
        self.read_into(buffer, array)
        return array

    def read_into(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Wait for all launches and copy the buffer's start into a C-contiguous `array`. Raises LaunchError."""
        if array.nbytes > buffer.nbytes:
            raise LaunchError(f"cannot read {array.nbytes} bytes from a buffer of {buffer.nbytes}")
        if array.nbytes == 0:
            return
        try:
            self._copy_out(buffer, array)
        except self._errors as error:
            raise LaunchError(f"cannot read {array.nbytes} bytes: {error}") from error

    def _copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        if buffer.host is None:
            cl.enqueue_copy(self._queue, array, buffer.memory, is_blocking=True)
            return
        self._queue.finish()
        _bytes(array)[:] = buffer.host[: array.nbytes]

    # --- launching ---

    def bind(
        self, kernel: Kernel, *, global_size: Sequence[int], local_size: Sequence[int], arguments: Sequence[Argument]
    ) -> BoundKernel:
        """Set a kernel's arguments and sizes once, to launch it often. Raises LaunchError naming kernel and limit.

        `global_size` counts work-items per dimension; `local_size` divides it.
        Scalars are NumPy scalars of the kernel's own types (`np.int32(3)`, `np.float32(0.1)`).
        """
        sizes, group = tuple(map(int, global_size)), tuple(map(int, local_size))
        check_launch(kernel, self.info, global_size=sizes, local_size=group, arguments=arguments)
        try:
            return self._bound(kernel, sizes, group, arguments)
        except self._errors as error:
            raise LaunchError(f"kernel {kernel.name!r}: the driver refused an argument: {error}") from error

    def _bound(
        self, kernel: Kernel, global_size: tuple[int, ...], local_size: tuple[int, ...], arguments: Sequence[Argument]
    ) -> BoundKernel:
        own = kernel.program.function(kernel.name)
        for index, argument in enumerate(arguments):
            own.set_arg(index, argument.memory if isinstance(argument, Buffer) else argument)
        return BoundKernel(
            name=kernel.name,
            kernel=own,
            arguments=tuple(arguments),
            global_size=global_size,
            local_size=local_size,
            queue=self._queue,
            profiling_queue=self._profiling_queue,
        )

    def finish(self) -> None:
        """Wait until everything enqueued has run. Raises LaunchError when some of it failed."""
        try:
            self._wait()
        except self._errors as error:
            raise LaunchError(f"device {self.info.name}: work that was enqueued failed: {error}") from error

    def _wait(self) -> None:
        self._queue.finish()


def _bytes(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A window on the bytes of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8)


def _wait_for(*queues: cl.CommandQueue | None) -> None:
    """Wait until nothing enqueued can touch memory that is about to be unmapped: a driver keeps its own memory until
    then, the host's it cannot keep. What failed is told by the next call that waits.
    """
    for queue in queues:
        if queue is not None:
            with contextlib.suppress(*DRIVER_ERRORS):
                queue.finish()

"""An open device: build programs, allocate and copy memory, bind and launch kernels."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl
from pyopencl._cl import _Program

from clprune import quirks
from clprune.device import DeviceInfo
from clprune.errors import BuildError, LaunchError, NoDeviceError
from clprune.opencl import binary_cache, invoker_cache
from clprune.opencl.codes import DRIVER_ERRORS, INVALID_BUILD_OPTIONS
from clprune.opencl.host_memory import on_large_pages
from clprune.opencl.kernels import Argument, BoundKernel, Buffer, Kernel, LocalMemory, Program, check_launch
from clprune.opencl.platforms import choose, find_handle

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on

_SMALLEST_BUFFER_BYTES = 16  # OpenCL refuses empty buffers; a fully pruned layer has empty lists


def open_device(selection: str | None = None) -> Session:
    """Open the device that `choose(selection)` names. Raises NoDeviceError."""
    return Session(choose(selection))


class Session:
    """An open device: its context, its in-order queue, and the programs built so far.

    Use it as a context manager, or call `close()`. Launches run in the order in which they were enqueued; `finish()`
    and every read wait for them. Building from several threads at once is safe.
    """

    def __init__(self, info: DeviceInfo) -> None:
        """Open the device that `info` addresses. Raises NoDeviceError."""
        self.info = info
        self._language = quirks.language_options(info)
        self._defines = quirks.defines(info)
        self._programs: dict[tuple[str, tuple[str, ...]], Program] = {}
        self._programs_lock = threading.Lock()
        invoker_cache.prepare()
        try:
            self._device = find_handle(info)
            self._context = cl.Context([self._device])
            self._queue = cl.CommandQueue(self._context)
        except DRIVER_ERRORS as error:
            raise NoDeviceError(
                f"device {info.selector} ({info.name}) cannot be opened: {error}; `clprune devices` lists the others"
            ) from error
        self._profiling_queue = self._make_profiling_queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

        A search that tries hundreds of candidates passes `keep=False`. Raises BuildError with the compiler's log.
        """
        if not keep:
            return self._build_from_source(source, options)
        key = (source, options)
        with self._programs_lock:
            program = self._programs.get(key)
        if program is None:
            program = self._load_or_build(source, options)
            with self._programs_lock:
                program = self._programs.setdefault(key, program)
        return program

    def kernel(self, program: Program, name: str) -> Kernel:
        """Return the kernel `name` with its limits on this device. Raises BuildError when there is none."""
        try:
            kernel = cl.Kernel(program.built, name)
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
        except DRIVER_ERRORS as error:
            raise BuildError(f"no kernel {name!r} in the program: {error}", log="", source=program.source) from error

    def _load_or_build(self, source: str, options: tuple[str, ...]) -> Program:
        if self.info.is_software:  # compiles quickly, and a simulator's binary loses its line numbers
            return self._build_from_source(source, options)
        path = binary_cache.entry_path(self.info, source, options)
        binary = binary_cache.load(path)
        if binary is not None:
            try:
                built = _Program(self._context, [self._device], [binary])
                built._build(_joined((*self._language, *self._defines, *options)), [self._device])
                return Program(built=built, source=source, log="")
            except DRIVER_ERRORS:
                pass  # another build of the same driver wrote it: compile, and replace it
        program = self._build_from_source(source, options)
        try:
            binaries = program.built.get_info(cl.program_info.BINARIES)
        except DRIVER_ERRORS:
            return program
        if isinstance(binaries, list) and binaries and binaries[0]:
            binary_cache.store(path, bytes(binaries[0]))
        return program

    def _build_from_source(self, source: str, options: tuple[str, ...]) -> Program:
        # pyopencl's public Program guards its disk cache with a lock that a killed process leaves behind, and writes
        # every refused source to a temporary file; this inner class is what it builds with.
        built = _Program(self._context, source)
        try:
            try:
                built._build(_joined((*self._language, *self._defines, *options)), [self._device])
            except DRIVER_ERRORS as error:
                if error.code != INVALID_BUILD_OPTIONS or not self._language:
                    raise
                built._build(_joined((*self._defines, *options)), [self._device])  # refuses the language
        except DRIVER_ERRORS as error:
            log = self._build_log(built) or str(error)
            raise BuildError(f"{self.info.name} refused a kernel:", log=log, source=source) from error
        return Program(built=built, source=source, log=self._build_log(built))

    def _build_log(self, built: _Program) -> str:
        try:
            return str(built.get_build_info(self._device, cl.program_build_info.LOG)).strip("\0\n ")
        except DRIVER_ERRORS:
            return ""

    # --- memory ---

    def empty_buffer(self, nbytes: int) -> Buffer:
        """Allocate `nbytes` with undefined contents. Raises LaunchError."""
        limit = self.info.max_alloc_bytes
        if nbytes > limit:
            raise LaunchError(f"a buffer of {nbytes} bytes is larger than {self.info.name} allows: {limit}")
        try:
            pages = on_large_pages(nbytes) if quirks.uses_host_memory(self.info) else None
            if pages is not None:
                flags = cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR
                buffer = Buffer(cl.Buffer(self._context, flags, hostbuf=pages), nbytes=nbytes)
                weakref.finalize(buffer, _wait_for, self._queue, self._profiling_queue)
                return buffer
            size = max(nbytes, _SMALLEST_BUFFER_BYTES)
            return Buffer(cl.Buffer(self._context, cl.mem_flags.READ_WRITE, size=size), nbytes=nbytes)
        except DRIVER_ERRORS as error:
            raise LaunchError(f"{self.info.name} cannot allocate {nbytes} bytes: {error}") from error

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
        size = max(buffer.nbytes, _SMALLEST_BUFFER_BYTES)
        if quirks.has(self.info, quirks.FILLS_UNTRACKED):
            self.write(buffer, np.zeros(buffer.nbytes, np.uint8))
            return
        try:
            cl.enqueue_fill_buffer(self._queue, buffer.memory, np.zeros(1, np.uint8), 0, size)
        except DRIVER_ERRORS as error:
            raise LaunchError(f"cannot clear {buffer.nbytes} bytes: {error}") from error

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
            cl.enqueue_copy(self._queue, buffer.memory, contiguous, is_blocking=True)
        except DRIVER_ERRORS as error:
            raise LaunchError(f"cannot write {contiguous.nbytes} bytes: {error}") from error

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
            cl.enqueue_copy(self._queue, array, buffer.memory, is_blocking=True)
        except DRIVER_ERRORS as error:
            raise LaunchError(f"cannot read {array.nbytes} bytes: {error}") from error

    # --- launching ---

    def bind(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> BoundKernel:
        """Set a kernel's arguments and sizes once, to launch it often. Raises LaunchError naming kernel and limit.

        `global_size` counts work-items per dimension; `local_size` divides it, or is None to let the driver choose.
        Scalars are NumPy scalars of the kernel's own types (`np.int32(3)`, `np.float32(0.1)`).
        """
        sizes = tuple(int(size) for size in global_size)
        group = None if local_size is None else tuple(int(size) for size in local_size)
        check_launch(kernel, self.info, global_size=sizes, local_size=group, arguments=arguments)
        try:
            own = cl.Kernel(kernel.program.built, kernel.name)
            for index, argument in enumerate(arguments):
                own.set_arg(index, _native(argument))
        except DRIVER_ERRORS as error:
            raise LaunchError(f"kernel {kernel.name!r}: the driver refused an argument: {error}") from error
        return BoundKernel(
            name=kernel.name,
            kernel=own,
            arguments=tuple(arguments),
            global_size=sizes,
            local_size=group,
            queue=self._queue,
            profiling_queue=self._profiling_queue,
        )

    def launch(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> None:
        """Bind and enqueue once; returns before the kernel has run. Raises LaunchError."""
        self.bind(kernel, global_size=global_size, local_size=local_size, arguments=arguments).enqueue()

    def timed_launch(
        self,
        kernel: Kernel,
        *,
        global_size: Sequence[int],
        local_size: Sequence[int] | None,
        arguments: Sequence[Argument],
    ) -> float:
        """Bind, run once and return the seconds on the device (see `BoundKernel.timed`). Raises LaunchError."""
        return self.bind(kernel, global_size=global_size, local_size=local_size, arguments=arguments).timed()

    def finish(self) -> None:
        """Wait until everything enqueued has run. Raises LaunchError when some of it failed."""
        try:
            self._queue.finish()
        except DRIVER_ERRORS as error:
            raise LaunchError(f"device {self.info.name}: work that was enqueued failed: {error}") from error


def _wait_for(*queues: cl.CommandQueue | None) -> None:
    """Wait until nothing enqueued can touch memory that is about to be unmapped: a driver keeps its own memory until
    then, the host's it cannot keep. What failed is told by the next call that waits.
    """
    for queue in queues:
        if queue is not None:
            with contextlib.suppress(*DRIVER_ERRORS):
                queue.finish()


def _native(argument: Argument) -> Any:  # pyopencl's own type for arguments leaves LocalMemory out
    if isinstance(argument, Buffer):
        return argument.memory
    if isinstance(argument, LocalMemory):
        return cl.LocalMemory(argument.nbytes)
    return argument


def _joined(options: tuple[str, ...]) -> bytes:
    return " ".join(options).encode()
